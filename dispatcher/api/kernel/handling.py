"""One seam around the handler of a request: after it is known who asks, before anything is done."""

from functools import partial
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from scheduling.trail import OfToken, Via, acting


class Handling:
    """A mixin for views: `handle` runs the handler (`list`, `create`, …) once the request is
    authenticated and permitted. What it raises becomes the error response as ever."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)  # type: ignore[misc]  # of the view
        method = request.method.lower()
        handler = getattr(self, method, None)
        if handler is not None:  # of this request's own instance of the view
            setattr(self, method, partial(self.handle, handler))

    def handle(self, handler: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        return handler(request, *args, **kwargs)


class InTheirName(Handling):
    """A mixin for views: what the handler changes is noted as done through the API by the user,
    and the token."""

    request: Request

    @property
    def caller(self) -> Any:
        """Who asks, as `by=` of the verbs: `str()` of it names the token too, “ann (token ci)”."""
        user, token = self.request.user, self.request.auth
        return user if token is None else OfToken(user, token.name)

    def handle(self, handler: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        with acting(Via.API, self.caller):
            return super().handle(handler, request, *args, **kwargs)

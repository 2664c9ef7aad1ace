"""What every view of the API has in common, set on the view itself: a project's own REST_FRAMEWORK
settings neither change it nor are changed by it."""

from types import SimpleNamespace
from typing import Any, ClassVar

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from dispatcher.api.kernel import problems
from dispatcher.api.kernel.authentication import AUTHENTICATION
from dispatcher.api.kernel.bodies import JsonParser
from dispatcher.api.kernel.filters import check_parameters
from dispatcher.api.kernel.handling import InTheirName
from dispatcher.api.kernel.idempotency import Idempotent
from dispatcher.api.kernel.permissions import Guarded
from dispatcher.api.kernel.schema import Schema
from dispatcher.api.kernel.throttles import PerMinute


class ByAccept(DefaultContentNegotiation):
    """Negotiate by the Accept header only: `?format=` would be an unknown parameter."""

    settings = SimpleNamespace(URL_FORMAT_OVERRIDE=None)


class Json(JSONRenderer):
    """JSON as Django REST framework writes it by default, whatever COMPACT_JSON and others say."""

    compact = True
    ensure_ascii = False
    strict = True


class ApiView(Idempotent, InTheirName, Guarded):
    """A mixin, to the left of Django REST framework's view."""

    is_minutehand = True

    authentication_classes = AUTHENTICATION
    throttle_classes = (PerMinute,)
    parser_classes = (JsonParser,)
    renderer_classes = (Json,)
    content_negotiation_class = ByAccept
    versioning_class = None
    metadata_class = None
    filter_backends: ClassVar[Any] = ()
    pagination_class: ClassVar[Any] = None
    schema = Schema()

    action: str | None

    #: Query parameters of actions, besides those of the filters and the pages of a list.
    parameters: ClassVar[dict[str, frozenset[str]]] = {}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if self.action is not None:  # else the answer is that there is no such method
            check_parameters(self, request)

    def address_of(self, name: str, pk: Any) -> str:
        """The absolute address of another resource of this API."""
        match = self.request.resolver_match
        space = f"{match.namespace}:" if match is not None and match.namespace else ""
        return str(reverse(f"{space}{name}", args=[pk], request=self.request))

    def body(self, serializer_class: Any) -> dict[str, Any]:
        """The validated body of an action."""
        serializer = serializer_class(data=self.request.data)
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)

    def get_exception_handler(self) -> Any:
        return problems.handler

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        answer: Response = super().finalize_response(request, response, *args, **kwargs)  # type: ignore[misc]
        answer.headers.setdefault("Cache-Control", "private, no-cache")
        return answer

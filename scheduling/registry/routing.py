"""Which queue Celery gives a task, by its own options or by its routing: code of the host, which
may raise.

What it raises concerns the runs that it was asked about, and no others: they get the default queue,
and their message, for which Celery asks again, ends them with the reason.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from celery.app.routes import MapRoute
from celery.exceptions import SoftTimeLimitExceeded

from scheduling.celery_app import celery_app
from scheduling.registry.task_options import own_options

logger = logging.getLogger(__name__)


class RouteError(Exception):
    """A route function of the host raised; `__cause__` is what."""


Named = Mapping[str, Any] | None


def queue_for(name: str, args: Sequence[Any] = (), kwargs: Named = None) -> str:
    """The queue that Celery's routing gives a run of the task where its schedule names none; the
    default one where the routing fails."""
    try:
        return asked_queue(name, args, kwargs)
    except RouteError as error:
        logger.error("%s", error, exc_info=error, extra={"action": "route_failed"})
        return str(celery_app().conf.task_default_queue)


def asked_queue(
    name: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
) -> str:
    """The queue as `queue_for` gives it; `RouteError` where the routing fails."""
    app = celery_app()
    own = own_options(name)  # as in Celery, a task's own queue comes before the routes
    route = GuardedRouter(app.amqp.router).route(own, name, args, kwargs, app.tasks.get(name))
    queue = route.get("queue")
    return str(getattr(queue, "name", queue) or app.conf.task_default_queue)


def depends_on_arguments() -> bool:
    """Whether the host routes by functions of its own, which may look at arguments."""
    router: Any = celery_app().amqp.router
    return any(not isinstance(route, MapRoute) for route in router.routes)


class GuardedRouter:
    """A router of Celery that says of an error that it is one of routing. Celery's own errors are
    not told from a broker's else: a route may ask a database, or Redis."""

    def __init__(self, router: Any) -> None:
        self._router = router

    def route(
        self,
        options: dict[str, Any],
        name: str,
        args: Sequence[Any] | None = (),
        kwargs: Mapping[str, Any] | None = None,
        task_type: Any = None,
    ) -> dict[str, Any]:
        try:
            route = self._router.route(
                options, name, list(args or ()), dict(kwargs or {}), task_type
            )
        except (SoftTimeLimitExceeded, MemoryError):
            raise
        except Exception as error:
            raise RouteError(
                f"The routing of {name} failed: {type(error).__name__}: {error}"[:500]
            ) from error
        return dict(route)

"""Our tables are read where they are written, whatever a router of the project's answers."""

from typing import Any

from django.db import models, router
from django.db.utils import ConnectionRouter


class OursTogether:
    """Stands before the project's routers and answers for our apps alone.

    A router that sends reads to a replica is right for pages, which may be a second old; the state
    of a run, the next slot and who may start are read to be written a moment later.
    """

    def __init__(self, routers: list[Any]) -> None:
        self._project = ConnectionRouter(routers)
        self.labels: set[str] = set()

    def db_for_write(self, model: type[models.Model], **hints: Any) -> str | None:
        """As the project says, but not where an object that goes with the row was read."""
        return self._project.db_for_write(model) if self._is_ours(model) else None

    db_for_read = db_for_write

    def allow_relation(self, one: models.Model, other: models.Model, **hints: Any) -> bool | None:
        """A user who was read from a replica is the same user."""
        return True if self._is_ours(type(one)) or self._is_ours(type(other)) else None

    def _is_ours(self, model: type[models.Model]) -> bool:
        """Also a proxy that the project makes of one."""
        concrete = model._meta.concrete_model or model
        return concrete._meta.app_label in self.labels


def read_where_written(label: str) -> None:
    """Answer for the models of this app, where the project has routers. Called when it is ready."""
    routers = router.routers
    if not routers:
        return
    if not isinstance(routers[0], OursTogether):
        routers.insert(0, OursTogether(list(routers)))
    routers[0].labels.add(label)

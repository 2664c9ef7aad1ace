"""The four states of a scheduled task, and what each means. They are said here, and nowhere else.

Two columns hold the state: `enabled`, and `state_reason` with why a schedule is not evaluated.
"""

from typing import Any

from django.db.models import Q, TextChoices
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy


class State(TextChoices):
    """States by the value that `state_reason` has; for `active` that is empty."""

    ACTIVE = "active", pgettext_lazy("state of a schedule", "active")
    PAUSED = "paused", _("paused")
    FINISHED = "finished", _("finished")
    SET_ASIDE = "set_aside", _("set aside")


def noted(enabled: bool, state_reason: str) -> State:
    """State that the two columns say.

    >>> noted(True, ""), noted(True, "set_aside"), noted(False, "finished"), noted(False, "")
    (State.ACTIVE, State.SET_ASIDE, State.FINISHED, State.PAUSED)
    """
    if enabled:
        return State.SET_ASIDE if state_reason == State.SET_ASIDE else State.ACTIVE
    return State.FINISHED if state_reason == State.FINISHED else State.PAUSED


def of(row: Any) -> State:
    """State that the scheduler has noted in this scheduled task."""
    return noted(row.enabled, row.state_reason)


def where(state: str, through: str = "") -> Q:
    """Scheduled tasks in the state, as `of` says it; of runs with `through="scheduled_task__"`."""
    enabled, reason = f"{through}enabled", f"{through}state_reason"
    set_aside, finished = Q((reason, State.SET_ASIDE)), Q((reason, State.FINISHED))
    return {
        State.ACTIVE: Q((enabled, True)) & ~set_aside,
        State.PAUSED: Q((enabled, False)) & ~finished,
        State.FINISHED: Q((enabled, False)) & finished,
        State.SET_ASIDE: Q((enabled, True)) & set_aside,
    }[State(state)]


def may_run(enabled: bool, state_reason: str) -> bool:
    """Whether planned runs of it may start: unless it is paused.

    That a schedule has finished ends no run that it still owes, and that it was set aside only
    means that no further slot is planned.
    """
    return noted(enabled, state_reason) != State.PAUSED


def where_may_run() -> Q:
    """Scheduled tasks whose planned runs may start, as `may_run` says it."""
    return Q(enabled=True) | where(State.FINISHED)

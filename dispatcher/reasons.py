"""The codes in `reason` of a run or an attempt, and the sentence of each.

Stored as code and parameters; worded, and translated, when somebody looks.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

SENTENCES = {
    # failed
    "exception": gettext_lazy("The task raised an exception."),
    "time_limit": gettext_lazy("It ran longer than its time limit."),
    "rejected": gettext_lazy("The task rejected its message."),
    "not_registered": gettext_lazy("The worker does not know the task %(task)s."),
    "not_publishable": gettext_lazy("It cannot be written as a message: %(message)s"),
    "message_rejected": gettext_lazy("The worker could not read the message: %(error)s"),
    "took_workers": gettext_lazy(
        "%(workers)s workers died when they took its message, so it is not sent again. "
        "Run it again when you have found out why."
    ),
    # lost
    "exited": gettext_lazy("The task ended its own process."),
    "process_gone": gettext_lazy("The process that ran it was killed."),
    "lease_ran_out": gettext_lazy("Its worker %(worker)s stopped answering."),
    # waiting
    "takes_turns": gettext_lazy("It waits until the run before it has ended."),
    # retrying
    "own_retry": gettext_lazy("The task asked for another try."),
    # retrying, or succeeded where it is a canvas
    "replaced": gettext_lazy("The task put another one in its place. %(id)s"),
    # succeeded
    "ignored": gettext_lazy("The task asked for its end to be ignored."),
    # cancelled
    "by_person": gettext_lazy("Cancelled by %(by)s."),
    "cancel_previous": gettext_lazy("The next run %(by)s took its place."),
    "revoked": gettext_lazy("Its message was revoked."),
    "paused": gettext_lazy("Its scheduled task was paused."),
    "deleted": gettext_lazy("Its scheduled task was deleted."),
    # missed
    "misfire": gettext_lazy("It was late when the scheduler came to it."),
    "edited": gettext_lazy("It was due and not planned when the scheduled task was changed."),
    "expired": gettext_lazy("It could not start before it expired."),
    # skipped
    "overlap": gettext_lazy("Another run of the scheduled task was running: %(running)s"),
    "skipped_by_hand": gettext_lazy("This slot was skipped by hand."),
}


def describe(code: str, params: Any = None) -> str:
    """The sentence of a code; a code that this version does not know is said as it is."""
    if code == "by_person" and not _known(params)["by"]:
        return _("Cancelled.")
    sentence = SENTENCES.get(code)
    return code if sentence is None else str(sentence) % _known(params)


def _known(params: Any) -> Mapping[str, Any]:
    """The parameters, and "" for any that is missing."""
    return defaultdict(str, params if isinstance(params, dict) else {})

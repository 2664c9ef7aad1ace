"""What a page asks before something is done to many scheduled tasks, and what is said after."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from dispatcher.admin.kit.asking import Named
from dispatcher.admin.task.copying import what_duplicate_does
from dispatcher.models import TaskRun
from scheduling.database import database_now
from scheduling.models import OverlapPolicy, ScheduledTask
from scheduling.stop import current_stop
from scheduling.words import moment_text, state_label, state_of, upcoming_or_problem

Tasks = Sequence[ScheduledTask]
Counted = Callable[[int], str]


@dataclass(frozen=True)
class Question:
    title: str
    says: list[str]
    named: list[Named]
    yes: str
    #: What is told afterwards: of those it was done to, and of those that needed it not.
    done: Counted
    left: Counted
    hidden: list[tuple[str, Any]] = field(default_factory=list)

    def tell(self, request: HttpRequest, done: int, left: int) -> None:
        if done:
            messages.success(request, self.done(done) % {"n": done})
        if left:
            messages.warning(request, self.left(left) % {"n": left})


def run(tasks: Tasks) -> Question:
    paused = sum(not task.enabled for task in tasks)
    bound = sum(task.overlap_policy != OverlapPolicy.ALLOW for task in tasks)
    says = [
        _("Each runs once now, with its own arguments. Schedules stay as they are."),
        ngettext(
            "%(n)d is paused, and stays so; this run starts all the same.",
            "%(n)d are paused, and stay so; these runs start all the same.",
            paused,
        ),
        ngettext(
            "%(n)d has a rule for runs that overlap, which this run obeys.",
            "%(n)d have a rule for runs that overlap, which these runs obey.",
            bound,
        ),
    ]
    return Question(
        title=_number(
            tasks,
            ngettext("Run %(n)d scheduled task now?", "Run %(n)d scheduled tasks now?", len(tasks)),
        ),
        says=[says[0], *_if_any((says[1], paused), (says[2], bound))],
        named=_named(tasks),
        yes=_("Yes, run now"),
        done=lambda n: ngettext("%(n)d run started.", "%(n)d runs started.", n),
        left=lambda n: ngettext("%(n)d did not run.", "%(n)d did not run.", n),
    )


def pause(tasks: Tasks) -> Question:
    owed = TaskRun.objects.owed([task.pk for task in tasks], database_now()).count()
    paused = sum(not task.enabled for task in tasks)
    says = [
        _("While they are paused, no slot of theirs runs. What is running goes on."),
        ngettext(
            "%(n)d run that is due and has not started will be cancelled.",
            "%(n)d runs that are due and have not started will be cancelled.",
            owed,
        ),
        ngettext(
            "%(n)d is not active and stays as it is.",
            "%(n)d are not active and stay as they are.",
            paused,
        ),
    ]
    return Question(
        title=_number(
            tasks,
            ngettext("Pause %(n)d scheduled task?", "Pause %(n)d scheduled tasks?", len(tasks)),
        ),
        says=[says[0], *_if_any((says[1], owed), (says[2], paused))],
        named=_named(tasks),
        yes=_("Yes, pause"),
        done=lambda n: ngettext("%(n)d scheduled task paused.", "%(n)d scheduled tasks paused.", n),
        left=lambda n: ngettext("%(n)d was paused already.", "%(n)d were paused already.", n),
    )


def resume(tasks: Tasks) -> Question:
    active = sum(task.enabled for task in tasks)
    says = [
        _("They run again from their next slot on. What was missed meanwhile is not made up for."),
        ngettext(
            "%(n)d is active and stays as it is.", "%(n)d are active and stay as they are.", active
        ),
    ]
    return Question(
        title=_number(
            tasks,
            ngettext("Resume %(n)d scheduled task?", "Resume %(n)d scheduled tasks?", len(tasks)),
        ),
        says=[says[0], *_if_any((says[1], active))],
        named=_named(tasks),
        yes=_("Yes, resume"),
        done=lambda n: ngettext(
            "%(n)d scheduled task resumed.", "%(n)d scheduled tasks resumed.", n
        ),
        left=lambda n: ngettext("%(n)d was active already.", "%(n)d were active already.", n),
    )


def skip(tasks: Tasks) -> Question:
    """The question before slots are skipped. It brings along which slots it has named."""
    slots = next_slots(tasks)
    named: list[Named] = [
        (task.name, moment_text(slots.get(task.pk), task.timezone) or _("has no next run"))
        for task in tasks
    ]
    slots_by_id = {str(pk): slot.isoformat() for pk, slot in slots.items()}
    return Question(
        title=_number(
            tasks,
            ngettext(
                "Skip the next run of %(n)d scheduled task?",
                "Skip the next runs of %(n)d scheduled tasks?",
                len(tasks),
            ),
        ),
        says=[
            _("They will not run at these times, and run again at the slots after them."),
            _("The slots are kept in the history as skipped, with the reason."),
        ],
        named=named,
        yes=_("Yes, skip"),
        done=lambda n: ngettext("%(n)d slot is skipped.", "%(n)d slots are skipped.", n),
        left=lambda n: ngettext(
            "%(n)d has no run to come that could be skipped.",
            "%(n)d have no run to come that could be skipped.",
            n,
        ),
        hidden=[("slots", json.dumps(slots_by_id))],
    )


def next_slots(tasks: Tasks) -> dict[int, datetime]:
    """The next run of each that has one, by id."""
    now, stopped = database_now(), current_stop() is not None
    slots_of = {task.pk: upcoming_or_problem(task, 1, now, stopped)[0] for task in tasks}
    return {pk: slots[0] for pk, slots in slots_of.items() if slots}


def duplicate(tasks: Tasks) -> Question:
    return Question(
        title=_number(
            tasks,
            ngettext(
                "Duplicate %(n)d scheduled task?", "Duplicate %(n)d scheduled tasks?", len(tasks)
            ),
        ),
        says=what_duplicate_does(tasks),
        named=_named(tasks),
        yes=_("Yes, duplicate"),
        done=lambda n: ngettext(
            "%(n)d copy is made. It is paused: look at it, then resume it.",
            "%(n)d copies are made. They are paused: look at them, then resume them.",
            n,
        ),
        left=lambda n: ngettext("%(n)d was not copied.", "%(n)d were not copied.", n),
    )


def _number(tasks: Tasks, title: str) -> str:
    return title % {"n": len(tasks)}


def _if_any(*sentences: tuple[str, int]) -> list[str]:
    """The sentences whose number is not 0, with it."""
    return [text % {"n": number} for text, number in sentences if number]


def _named(tasks: Tasks) -> list[Named]:
    """The names of the tasks; of those that are not active also the state."""
    states = ((task, state_of(task)) for task in tasks)
    return [(task.name, "" if state == "active" else state_label(state)) for task, state in states]

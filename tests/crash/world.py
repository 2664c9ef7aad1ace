"""The processes of a scenario, one action at a time.

An action is what one process does at a stretch: a tick, a rescue pass, the handling of a message,
an edit. `Laboratory` may let the process of an action die in the middle of it.
"""

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from celery.app.task import Context

from dispatcher.models import TaskRun
from dispatcher.models.status import ENDED
from dispatcher.tick import rescue_pass, tick
from dispatcher.worker import gate
from scheduling.models import ScheduledTask, State
from tests.crash import broker
from tests.crash.broker import Message
from tests.crash.clock import Clock
from tests.crash.worker import end, execute, refuse, start

if TYPE_CHECKING:
    from tests.crash.laboratory import Laboratory

S = timedelta(seconds=1)
ROUND = 20 * S

#: What an action returns where its process died.
DIED = object()


@dataclass
class Held:
    """A run that a worker is executing."""

    request: Context
    name: str
    until: datetime
    trouble: str


@dataclass
class World:
    clock: Clock
    kind: str  # of the actions that are looked into
    laboratory: "Laboratory | None" = None
    redelivered: bool = False  # whether a dead worker's message comes back

    torn: str | None = None  # the run that a worker died with
    inbox: list[Message] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    troubled: set[str] = field(default_factory=set)  # runs that have had theirs
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        os.environ[gate.WORKER_ID] = str(uuid4())

    # Actions ------------------------------------------------------------------------------------

    def act(self, kind: str, action: Callable[[], Any]) -> Any:
        """Do it as one process would; `DIED` where that process died of it."""
        if self.laboratory is None or kind != self.kind:
            return action()
        return self.laboratory.act(self, action)

    def tick(self) -> None:
        self.act("tick", tick)

    def rescue(self) -> None:
        self.act("rescue", rescue_pass)

    def edit(self, action: Callable[[], Any]) -> None:
        """A person's change; who saw it fail does it again."""
        if self.act("edit", action) is DIED:
            action()

    def ask(self, action: Callable[[], Any]) -> Any:
        """As `edit`, but of a kind that nobody repeats."""
        return self.act("edit", action)

    # A worker -------------------------------------------------------------------------------------

    def deliver(self) -> None:
        """Handle every message whose time has come."""
        for message in self._take_due():
            if self._handle(message) is DIED:
                self.torn = message.run_id
                self.inbox += [message, message] if self.redelivered else []
            elif message.kwargs.get("twice"):
                self._handle(message)

    def _take_due(self) -> list[Message]:
        self.inbox += broker.drain()
        now = self.clock.now
        due = [m for m in self.inbox if m.eta is None or m.eta <= now]
        self.inbox = [m for m in self.inbox if m.eta is not None and m.eta > now]
        return sorted(due, key=lambda m: str(m.kwargs.get("name")))

    def _handle(self, message: Message) -> Any:
        trouble = self._trouble_of(message)
        if trouble == "unknown":
            return self.act("worker", lambda: refuse(message))
        if "hold" not in message.kwargs:
            return self.act("worker", lambda: execute(message, trouble))
        request = self.act("worker", lambda: start(message, trouble))
        if isinstance(request, Context):
            self._hold(request, message, trouble)
        return request

    def _trouble_of(self, message: Message) -> str:
        """What its worker meets, the first time that the run comes to one."""
        if message.run_id in self.troubled:
            return ""
        self.troubled.add(message.run_id)
        return str(message.kwargs.get("trouble", ""))

    def _hold(self, request: Context, message: Message, trouble: str) -> None:
        name = str(message.kwargs["name"])
        beside = [held.request.run_id for held in self.held if held.name == name]
        running = TaskRun.objects.filter(pk__in=beside, status="running")
        if running.exclude(scheduled_task__overlap_policy="allow").exists():
            self.faults.append(f"{name}: run {message.run_id} started beside another one")
        until = self.clock.now + message.kwargs["hold"] * S
        self.held.append(Held(request, name, until, trouble))

    def end_held(self) -> None:
        for held in [held for held in self.held if held.until <= self.clock.now]:
            self.held.remove(held)
            if self.act("worker", partial(end, held.request, held.trouble)) is DIED:
                self.torn = held.request.run_id

    def renew(self) -> None:
        ids = [UUID(held.request.run_id) for held in self.held]
        worker = UUID(os.environ[gate.WORKER_ID])
        self.act("worker", lambda: TaskRun.objects.all().renew_leases(ids, worker))

    # The time -------------------------------------------------------------------------------------

    def round(self, *script: "Callable[[World], None]", outage: bool = False) -> None:
        """Twenty seconds: the beat's entries, what people do meanwhile, the workers."""
        self.renew()
        with broker.away() if outage else nullcontext():
            if self.clock.now.second == 0:
                self.tick()
            self.rescue()
        for action in script:
            action(self)
        self.end_held()
        self.deliver()
        self.clock.move(ROUND)

    def go_on_until_quiet(self, rounds: int = 60) -> None:
        for _round in range(rounds):
            if self.is_quiet():
                return
            self.round()
        self.faults.append("it does not come to rest")

    def is_quiet(self) -> bool:
        unfinished = TaskRun.objects.exclude(status__in=ENDED)
        evaluated = ScheduledTask.objects.filter(enabled=True)
        evaluated = evaluated.exclude(state_reason=State.SET_ASIDE)
        paused = ScheduledTask.objects.filter(enabled=False, paused_until__isnull=False)
        busy = self.held or self.inbox
        return not (busy or unfinished.exists() or evaluated.exists() or paused.exists())

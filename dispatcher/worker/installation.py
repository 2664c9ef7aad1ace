"""`install(app)`: what a Celery app needs so that its tasks can be scheduled.

The gate around every task, which lets all messages but ours through; a route and two beat entries.
Nothing else of the app is changed: what our runs need besides travels with our messages and our
connections, and what helps a worker is `recommended`. Called before Django is ready, so nothing
here imports a model until a worker starts or a message of ours arrives.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from celery import Celery, signals
from celery.utils.imports import symbol_by_name

from dispatcher.worker import beat
from dispatcher.worker.beat import QUEUE
from scheduling import celery_app


@dataclass(frozen=True)
class ChangedSetting:
    """What `install` changed in a setting of Celery, and why."""

    setting: str
    old: Any
    new: Any
    why: str


#: What was changed in which app, for `doctor --install`.
CHANGED_SETTINGS: "WeakKeyDictionary[Celery, tuple[ChangedSetting, ...]]" = WeakKeyDictionary()

#: The apps of this process that have it.
INSTALLED: "WeakSet[Celery]" = WeakSet()


def install(app: Celery) -> None:
    """Put the gate around every task of `app`, now or when its configuration is read."""
    INSTALLED.add(app)
    celery_app.use(app)
    if app.configured:  # type: ignore[attr-defined]  # missing in the stubs
        _configure(app)
    else:
        app.on_after_configure.connect(_on_configured, weak=False)
    app.on_after_finalize.connect(_on_finalized, weak=False)
    signals.worker_init.connect(_on_worker_init, dispatch_uid="dispatcher.install")
    beat.connect()


def _on_configured(sender: Celery, **signal: Any) -> None:
    _configure(sender)


def _on_finalized(sender: Celery, **signal: Any) -> None:
    """Once Django is ready the models can be imported, and with them the listeners."""
    from django.apps import apps

    if apps.ready:
        connect_listeners()


def _on_worker_init(sender: Any = None, **signal: Any) -> None:
    """What a worker cannot do without, also where the app was finalized before Django was ready
    or its tasks were bound before `install`."""
    from dispatcher.worker import celery_signals, leases
    from scheduling.database import own_connection

    connect_listeners()
    celery_signals.see_publishes_last()
    guard_tasks(sender.app)
    leases.identify()
    own_connection.enable()


def guard_tasks(app: Celery) -> None:
    """Put the gate around the tasks that the annotation did not reach, and our eyes and our care
    around the receipt of messages."""
    from dispatcher.worker import suspects

    classes: set[Any] = {type(task) for task in app.tasks.values()}
    for cls in classes:
        if not getattr(cls.before_start, "guards_runs", False):
            cls.before_start = guard(cls.before_start)
        cls.Request = _watching(symbol_by_name(cls.Request))
        if not getattr(cls.Strategy, "is_careful", False):
            cls.Strategy = staticmethod(suspects.careful(cls.Strategy))


@cache
def _watching(base: type) -> type:
    """The project's class of requests, with our eyes: `RunRequest` where it is Celery's own."""
    from celery.worker.request import Request

    from dispatcher.worker.request import RunRequest, SeesEnds

    if issubclass(base, SeesEnds):
        return base
    return RunRequest if base is Request else type(base.__name__, (SeesEnds, base), {})


def connect_listeners() -> None:
    from dispatcher.worker import celery_signals, leases

    celery_signals.connect()
    leases.connect()


def _configure(app: Celery) -> None:
    conf = app.conf
    changes = (
        ChangedSetting(
            "task_annotations",
            conf.task_annotations,
            _annotations(conf.task_annotations),
            "the gate stands before every task: a message of a run starts it once or not at all; "
            "any other message passes",
        ),
        ChangedSetting(
            "beat_schedule",
            conf.beat_schedule,
            beat.ENTRIES | (conf.beat_schedule or {}),
            "beat sends a tick every minute and a rescue every 20 seconds",
        ),
        ChangedSetting(
            "task_routes",
            conf.task_routes,
            _routes(conf.task_routes),
            f"both go to the queue {QUEUE}, so that no task of yours delays them",
        ),
    )
    for change in changes:
        conf[change.setting] = change.new
    CHANGED_SETTINGS[app] = changes


def _annotations(present: Any) -> list[Any]:
    """The user's annotations with the gate in `'*'`: Celery applies only the first one."""
    items = list(present) if isinstance(present, (list, tuple)) else [present] if present else []
    for index, item in enumerate(items):
        if isinstance(item, dict) and "*" in item:
            items[index] = {**item, "*": {**item["*"], **_gate_around(item["*"])}}
            return items
    return [*items, {"*": GATE}]


def _gate_around(present: dict[str, Any]) -> dict[str, Any]:
    """The gate, outside a `before_start` that the user's annotation puts there."""
    inner = present.get("@before_start")
    if inner is None:
        return GATE
    return GATE | {"@before_start": lambda before_start: guard(inner(before_start))}


def guard(before_start: Any) -> Any:
    """Guard the task by `gate.guard`: it imports models, so it is imported at the first task."""

    def guarded(self: Any, task_id: str, args: Any, kwargs: Any) -> Any:
        if getattr(self.request, "is_eager", False):
            _take_headers(self.request)
        if getattr(self.request, "run_id", None) is not None:
            from dispatcher.worker.gate import enter

            enter(self.request)
        return before_start(self, task_id, args, kwargs)

    guarded.guards_runs = True  # type: ignore[attr-defined]
    return guarded


def _take_headers(request: Any) -> None:
    """As a worker does, and `Task.apply` does not; and nobody has listened in this process yet."""
    headers = request.headers
    if isinstance(headers, dict) and "run_id" in headers:
        request.run_id, request.attempt = headers["run_id"], headers.get("attempt", 0)
        connect_listeners()


GATE: dict[str, Any] = {"@before_start": guard}


def _routes(present: Any) -> Any:
    ours = {"dispatcher.*": {"queue": QUEUE}}
    if not present:
        return ours
    if isinstance(present, dict):
        return ours | present
    return [ours, *(present if isinstance(present, (list, tuple)) else [present])]

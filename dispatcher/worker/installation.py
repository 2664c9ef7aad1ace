"""`install(app)`: what a Celery app needs so that its tasks can be scheduled.

It fills in only what the app's own configuration leaves open. Called before Django is ready, so
nothing here imports a model until a worker starts or a task is bound.
"""

from typing import Any

from celery import Celery, signals
from celery.schedules import crontab, schedule

QUEUE = "dispatcher"

BEAT_ENTRIES: dict[str, dict[str, Any]] = {
    # A late tick is worth nothing: the next one does its work.
    "dispatcher.tick": {
        "task": "dispatcher.tick",
        "schedule": crontab(),
        "options": {"queue": QUEUE, "expires": 55},
    },
    "dispatcher.rescue": {
        "task": "dispatcher.rescue",
        "schedule": schedule(20),
        "options": {"queue": QUEUE, "expires": 18},
    },
}

DEFAULTS: dict[str, Any] = {
    # In memory: a schedule file with a time from the future keeps beat silent until then.
    "beat_scheduler": "celery.beat:Scheduler",
    # A run's message is taken when a slot is free, not before: a busy worker leaves it to others.
    "worker_prefetch_multiplier": 1,
    # The database connection stays open between runs; a claim costs 0.3 ms instead of 5. Celery
    # reads it by this name, with whatever namespace the app is configured.
    "CELERY_DB_REUSE_MAX": 1000,
    # Celery's own defaults, pinned: looked up for every message, each through Django's settings.
    "task_always_eager": False,
    "task_send_sent_event": False,
    "task_protocol": 2,
    # The run's row is the result, and the claim is the start.
    "task_ignore_result": True,
    "broker_connection_retry_on_startup": True,
    # By default a worker gives up after 45 minutes without its broker.
    "broker_connection_max_retries": None,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
}

#: Where a broker refuses connections a save says so at once, instead of trying again for 6 s. The
#: reconnecting of workers does not read it.
AMQP_TRANSPORT: dict[str, Any] = {"max_retries": 0}

REDIS_TRANSPORT: dict[str, Any] = {
    # A frozen or unreachable broker must not hang a save, a tick or a worker.
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "max_retries": 0,
    # How soon messages of a killed worker come back is rescue's business, not this one's.
    "visibility_timeout": 3600,
}


def install(app: Celery) -> None:
    """Put the gate around every task of `app`, now or when its configuration is read."""
    if app.configured:  # type: ignore[attr-defined]  # missing in the stubs
        _configure(app)
    else:
        app.on_after_configure.connect(_on_configured, weak=False)
    app.on_after_finalize.connect(_on_finalized, weak=False)
    signals.worker_init.connect(_on_worker_init, dispatch_uid="dispatcher.install")


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
    from dispatcher.worker import leases

    connect_listeners()
    guard_tasks(sender.app)
    leases.identify()


def guard_tasks(app: Celery) -> None:
    """Put the gate around the tasks that the annotation did not reach."""
    classes: set[Any] = {type(task) for task in app.tasks.values()}
    for cls in classes:
        if not getattr(cls.before_start, "guards_runs", False):
            cls.before_start = guard(cls.before_start)
            cls.Request = GATE["Request"]


def connect_listeners() -> None:
    from dispatcher.worker import celery_signals, leases

    celery_signals.connect()
    leases.connect()


def _configure(app: Celery) -> None:
    conf = app.conf
    conf.task_annotations = _annotations(conf.task_annotations)
    conf.beat_schedule = BEAT_ENTRIES | (conf.beat_schedule or {})
    conf.task_routes = _routes(conf.task_routes)
    for name, value in DEFAULTS.items():
        if _is_default(conf, name):
            conf[name] = value
    broker = _scheme(conf.broker_url)
    if broker.startswith(("redis", "rediss", "valkey")):
        conf.broker_transport_options = REDIS_TRANSPORT | (conf.broker_transport_options or {})
        if _is_default(conf, "worker_disable_prefetch"):
            conf.worker_disable_prefetch = True
    elif broker in ("amqp", "amqps", "pyamqp"):
        conf.broker_transport_options = AMQP_TRANSPORT | (conf.broker_transport_options or {})
    if _is_default(conf, "worker_consumer"):
        conf.worker_consumer = "dispatcher.worker.consumer:ResilientConsumer"


def _scheme(url: Any) -> str:
    """Of the first broker where several are named; Celery's own default is RabbitMQ."""
    first = url if isinstance(url, str) else next(iter(url or ()), "")
    return first.partition(":")[0] or "amqp"


def _is_default(conf: Any, name: str) -> bool:
    """Whether nobody has set it. Celery's defaults are the last layer; in those above it a
    setting goes by its name, its name in the app's namespace or its name before Celery 4."""
    return not any(key in layer for layer in conf.maps[:-1] for key in conf._to_keys(name))


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
    """As `gate.guard`, which imports models, imported when the first task is bound or run."""

    def guarded(self: Any, task_id: str, args: Any, kwargs: Any) -> Any:
        if getattr(self.request, "run_id", None) is not None:
            from dispatcher.worker.gate import enter

            enter(self.request)
        return before_start(self, task_id, args, kwargs)

    guarded.guards_runs = True  # type: ignore[attr-defined]
    return guarded


GATE: dict[str, Any] = {"@before_start": guard, "Request": "dispatcher.worker.request:RunRequest"}


def _routes(present: Any) -> Any:
    ours = {"dispatcher.*": {"queue": QUEUE}}
    if not present:
        return ours
    if isinstance(present, dict):
        return ours | present
    return [ours, *(present if isinstance(present, (list, tuple)) else [present])]

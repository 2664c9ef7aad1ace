"""A host's own Celery tests, as one script: prints what each came to, as JSON. INSTALL=1 installs.

What is compared may differ from run to run in nothing: no ids, no times.
"""

import json
import os
import sys
from datetime import timedelta
from typing import Any

import django
from celery import Celery, Task, chain, chord, group, shared_task
from celery.contrib.testing.worker import start_worker
from celery.schedules import crontab
from celery.worker.request import Request
from django.conf import settings
from django.test import override_settings

from dispatcher import install


class HostRequest(Request):
    seen: list[str] = []

    def on_success(self, *args: Any, **kwargs: Any) -> Any:
        return super().on_success(*args, **kwargs)

    def acknowledge(self) -> None:
        HostRequest.seen.append(self.name)
        super().acknowledge()


class Based(Task):
    Request = f"{__name__}:HostRequest"
    started: list[str] = []

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        Based.started.append(f"{self.name} {args}")


def annotated(run: Any) -> Any:
    return run


def route(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **kw: Any) -> Any:
    return {"queue": "routed"} if name == "host.routed" else None


settings.configure(
    SECRET_KEY="x" * 50,
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "scheduling",
        "dispatcher",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    USE_TZ=True,
    CELERY_BROKER_URL="memory://",
    CELERY_RESULT_BACKEND="cache+memory://",
    CELERY_TASK_ROUTES=[route, {"host.listed": {"queue": "listed"}}],
    CELERY_TASK_ANNOTATIONS={"host.add": {"rate_limit": "100/s"}, "*": {"priority": 3}},
    CELERY_BEAT_SCHEDULE={
        "daily": {"task": "host.add", "schedule": timedelta(days=1), "args": [1, 2]},
        "nightly": {"task": "host.add", "schedule": crontab(hour=3), "args": [3, 4]},
    },
    CELERY_RESULT_EXTENDED=True,
)
sys.modules["host_suite"] = sys.modules[__name__]
app = Celery("host")
app.config_from_object("django.conf:settings", namespace="CELERY")
if os.environ.get("INSTALL"):
    install(app)


@shared_task(name="host.add")
def add(a: int, b: int) -> int:
    return a + b


@shared_task(name="host.total")
def total(numbers: list[int]) -> int:
    return sum(numbers)


@shared_task(name="host.fail")
def fail() -> None:
    raise ValueError("as meant")


@app.task(name="host.based", base=Based, bind=True)
def based(self: Any, n: int) -> Any:
    if self.request.retries < 2:
        raise self.retry(countdown=0, max_retries=3)
    return [n, self.request.retries, self.request.headers]


@shared_task(name="host.ignored", ignore_result=True)
def ignored() -> int:
    return 7


@shared_task(name="host.routed")
def routed() -> None: ...


@shared_task(name="host.listed")
def listed() -> None: ...


def eager() -> Any:
    with override_settings(CELERY_TASK_ALWAYS_EAGER=True, CELERY_TASK_EAGER_PROPAGATES=False):
        results = [add.delay(1, 2).get(), fail.delay().state, based.delay(5).get()]
        results.append((add.s(1, 1) | add.s(2)).delay().get())
        results.append(chord([add.s(1, 1), add.s(2, 2)])(total.s()).get())
        results.append(add.apply(args=[4, 5], headers={"tenant": "x"}).get())
    with override_settings(CELERY_TASK_ALWAYS_EAGER=True, CELERY_TASK_EAGER_PROPAGATES=True):
        try:
            fail.delay()
        except ValueError as error:
            results.append(str(error))
    return results


def results() -> Any:
    wait = {"timeout": 20, "disable_sync_subtasks": False}
    failed = fail.delay()
    try:
        failed.get(timeout=20)
    except ValueError as error:
        said = repr(error)
    extended = add.apply_async((2, 3), headers={"tenant": "x"})
    return {
        "add": add.delay(2, 2).get(**wait),
        "failed": [said, failed.state],
        "group": group(add.s(i, i) for i in range(4))().get(**wait),
        "chain": chain(add.s(1, 2), add.s(3), add.s(4))().get(**wait),
        "chord": chord([add.s(i, 1) for i in range(3)])(total.s()).get(**wait),
        "retried": based.delay(9).get(**wait)[:2],
        "ignored": ignored.delay().ignored,
        "extended": [extended.get(**wait), extended.name, extended.args, extended.state],
    }


def conf() -> Any:
    from celery.app.defaults import DEFAULTS

    ours = {"task_annotations", "beat_schedule", "task_routes"}
    theirs = {n: repr(app.conf[n]) for n in sorted(set(DEFAULTS) - ours)}
    beat = {n: repr(e) for n, e in app.conf.beat_schedule.items() if "dispatcher" not in n}
    queues = {t: app.amqp.router.route({}, t)["queue"].name for t in ("host.add", "host.listed")}
    queues["host.routed"] = app.amqp.router.route({}, "host.routed")["queue"].name
    annotations = [add.rate_limit, add.priority, based.priority, total.rate_limit]
    return {"conf": theirs, "beat": beat, "queues": queues, "annotations": annotations}


if __name__ == "__main__":
    django.setup()
    app.set_current()
    found = {"eager": eager(), "conf": conf()}
    with start_worker(app, pool="threads", concurrency=2, perform_ping_check=False):
        found["results"] = results()
    found["request"] = sorted(set(HostRequest.seen))
    found["started"] = sorted(Based.started)
    print(json.dumps(found, default=repr, indent=1))

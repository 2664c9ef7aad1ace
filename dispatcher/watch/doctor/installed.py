"""What `install` changed in the project's Celery app, and what would help its workers."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from celery import Celery
from celery.utils.imports import symbol_by_name

from dispatcher.publish.pool import is_redis
from dispatcher.recommended import CONSUMER, RECOMMENDATIONS, Recommendation
from dispatcher.watch.doctor.finding import Finding
from dispatcher.worker.installation import CHANGED_SETTINGS
from scheduling.celery_app import celery_app


def check_recommended(now: datetime) -> Iterator[Finding]:
    """An advice for each setting that is neither taken nor set to something of the project's."""
    for each in missing(celery_app()):
        yield Finding(
            f"not_set_{each.name}",
            f"CELERY_{each.name.upper()} is not {each.value!r}. Without it "
            f"{each.without}. It is in dispatcher.RECOMMENDED.",
            is_advice=True,
        )


def missing(app: Celery) -> list[Recommendation]:
    """What is recommended for the project's broker and not as it is recommended."""
    wanted = [each for each in RECOMMENDATIONS if is_redis(app) or not each.on_redis_only]
    return [each for each in wanted if not _is_taken(each, app.conf[each.name])]


def _is_taken(wanted: Recommendation, present: Any) -> bool:
    if isinstance(wanted.value, dict):  # other values of these are the project's choice
        return set(wanted.value) <= set(present or {})
    if wanted.value == CONSUMER:
        return _survives(present)
    return bool(present == wanted.value)


def _survives(consumer: Any) -> bool:
    from dispatcher.worker.consumer import SurvivesRestart

    try:
        return issubclass(symbol_by_name(consumer), SurvivesRestart)
    except (ImportError, AttributeError, TypeError):
        return False


def report(app: Celery | None = None) -> Iterator[str]:
    """The lines of `doctor --install`: old → new → why, then what is recommended."""
    app = app or celery_app()
    str(app.conf.broker_url)  # read the configuration: `install` waits for that
    if app not in CHANGED_SETTINGS:
        yield f"dispatcher.install was not called in this process: its Celery app is {app.main!r}."
        return
    yield f"Changed in the Celery app {app.main!r} by dispatcher.install:"
    for change in CHANGED_SETTINGS[app]:
        yield f"- {change.setting}: {change.old!r} → {change.new!r}"
        yield f"  because {change.why}."
    yield "A worker, besides, listens to Celery's signals and extends each task's class of requests"
    yield "(Task.Request), both for messages with the header run_id only."
    lacking = missing(app)
    yield "Recommended and not set:" if lacking else "All that is recommended is set."
    for each in lacking:
        yield f"- CELERY_{each.name.upper()} = {each.value!r}"
        yield f"  Without it {each.without}."

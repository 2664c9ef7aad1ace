"""django-celery-beat's part, in a process of its own. Prints one line of JSON.

python -m benchmarks.beat <due> <limit in seconds>

All rows are due and there are no others. The clock starts when its scheduler has read them, and
stops when the last one is sent: the loop is that of `celery beat`.
"""

import json
import os
import sys
import time
from datetime import timedelta
from typing import Any

import django

from benchmarks import services

#: What `celery beat` sleeps at most; the loop must not sleep past the limit.
MAX_SLEEP = 1.0


def fill(due: int) -> None:
    """Half every minute by crontab, half every minute by interval; their last run is 2 min ago."""
    from django.core.management import call_command
    from django.utils import timezone
    from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

    call_command("migrate", verbosity=0)
    crontab = CrontabSchedule.objects.create(minute="*")
    interval = IntervalSchedule.objects.create(every=60, period=IntervalSchedule.SECONDS)
    PeriodicTask.objects.bulk_create(
        PeriodicTask(
            name=f"due {n}",
            task=f"shop.tasks.job_{n % 40}",
            args=json.dumps([n, "nightly"]),
            kwargs=json.dumps({"region": "eu", "dry_run": False}),
            last_run_at=timezone.now() - timedelta(minutes=2),
            **({"crontab": crontab} if n % 2 else {"interval": interval}),
        )
        for n in range(due)
    )


def run(due: int, limit: float) -> dict[str, Any]:
    """Tick until every row was sent once, or the limit is over."""
    from celery import Celery, signals
    from django_celery_beat.schedulers import DatabaseScheduler

    app = Celery("beat")
    app.config_from_object("django.conf:settings", namespace="CELERY")
    sent: set[str] = set()

    def count(headers: dict[str, Any], **signal: Any) -> None:
        sent.add(headers["periodic_task_name"])

    signals.after_task_publish.connect(count)
    scheduler = DatabaseScheduler(app)
    assert len([name for name in scheduler.schedule if name.startswith("due ")]) == due
    started = time.perf_counter()
    while len(sent) < due and time.perf_counter() - started < limit:
        sleep = scheduler.tick()
        if sleep > 0 and len(sent) < due:
            time.sleep(min(sleep, MAX_SLEEP))
    seconds = time.perf_counter() - started
    load = os.getloadavg()[0]
    return {"seconds": seconds, "sent": len(sent), "peak_mb": services.peak_mb(), "load": load}


if __name__ == "__main__":
    django.setup()
    fill(int(sys.argv[1]))
    print(json.dumps(run(int(sys.argv[1]), float(sys.argv[2]))))

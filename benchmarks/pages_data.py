"""The rows that the pages are measured with, made by the database, and the pages."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.urls import reverse

from benchmarks import rows as make
from dispatcher.models import TaskRun, Worker
from scheduling.models import ScheduledTask
from scheduling.trail import Via, acting

DAYS = 14
#: A quarter of the runs are of so many busy schedules.
BUSY = 100
_MINUTES = timedelta(minutes=1)

#: A run every 1.2 s for two weeks: of each hundred 95 succeeded. Ids are UUIDv7, as ours are.
_RUNS = """
INSERT INTO dispatcher_taskrun (
    id, scheduled_task_id, name, task, trigger, scheduled_for, slot, slot_count, start_at, status,
    reason, reason_params, attempt, retries, revision, args, kwargs, queue, planned_at,
    published_at, started_at, claimed_at, finished_at, worker, pid, message_id, result, exception,
    traceback, triggered_by, triggered_via, publish_at
)
SELECT
    (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7'
        || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
    t.id, t.name, t.task, 'schedule', at, at, 1, at, status,
    CASE status WHEN 'failed' THEN 'exception' WHEN 'missed' THEN 'misfire'
        WHEN 'skipped' THEN 'skipped_by_hand' ELSE '' END,
    '{{}}', begun::int, 0, 1, t.args, t.kwargs, t.queue, at - interval '1 minute',
    at - interval '1 minute', CASE WHEN begun THEN at END, CASE WHEN begun THEN at END,
    CASE WHEN ended THEN at + interval '2 s' END, CASE WHEN begun THEN 'worker@host' ELSE '' END,
    CASE WHEN begun THEN 7 END, '', CASE status WHEN 'succeeded' THEN '3'::jsonb END,
    CASE status WHEN 'failed' THEN 'ValueError: the column is missing' ELSE '' END,
    CASE status WHEN 'failed' THEN repeat('  File "/srv/shop/tasks.py", line 1', 30) ELSE '' END,
    '', '', CASE WHEN status IN ('planned', 'published') THEN at END
FROM (
    SELECT n, at, lot, status, ended,
        status NOT IN ('planned', 'published', 'missed', 'skipped') AS begun,
        (CASE WHEN n %% 4 = 0 THEN n / 4 %% {busy} ELSE n * 7919::bigint %% %(tasks)s END) AS place
    FROM (
        SELECT n, lot, at, n <= %(runs)s - 60 AS ended,
            CASE WHEN n > %(runs)s - 20 THEN 'published' WHEN n > %(runs)s - 60 THEN 'running'
                WHEN lot < 950 THEN 'succeeded' WHEN lot < 975 THEN 'failed'
                WHEN lot < 980 THEN 'lost' WHEN lot < 988 THEN 'missed'
                WHEN lot < 997 THEN 'skipped' ELSE 'cancelled' END AS status
        FROM (
            SELECT n, abs(hashint8(n::bigint)::bigint) %% 1000 AS lot,
                %(now)s - interval '{days} days' * (1 - n::float / %(runs)s) AS at
            FROM generate_series(1, %(runs)s) AS n
        ) AS numbers
    ) AS runs
) AS placed
JOIN (
    SELECT *, row_number() OVER (ORDER BY id) - 1 AS place FROM scheduling_scheduledtask
) AS t USING (place)
"""

#: Two hundred are paused; a thousand names belong to forty owners and thirty groups.
_OPTIONS = """
UPDATE scheduling_scheduledtask SET owner = 'owner ' || id %% 40, "group" = 'group ' || id %% 30,
    enabled = id %% 500 <> 0, state_reason = CASE WHEN id %% 500 = 0 THEN 'paused' ELSE '' END
"""
_TICKS = """
INSERT INTO dispatcher_tick (kind, started_at, finished_at, dispatcher, planned, published, missed,
    set_aside, lost, tzdata, error)
SELECT 'tick', at, at + interval '1 s', 'host', 50, 50, 0, 0, 0, '', ''
FROM generate_series(%(now)s - interval '{days} days', %(now)s, interval '1 minute') AS at
"""
_FAILING = """
INSERT INTO dispatcher_failing (scheduled_task_id, since, run_id, noticed_at)
SELECT DISTINCT ON (scheduled_task_id) scheduled_task_id, finished_at, id, finished_at
FROM dispatcher_taskrun WHERE status = 'failed' AND finished_at > %(now)s - interval '1 hour'
ORDER BY scheduled_task_id, id DESC
"""


def fill(tasks: int, runs: int) -> dict[str, Any]:
    """The rows, and those of them that have pages of their own."""
    now = datetime.now(UTC)
    slot = now.replace(second=0, microsecond=0)
    found = make.idle(tasks - 1, slot)
    for batch in iter(lambda: list(itertools.islice(found, 2000)), []):
        ScheduledTask.objects.bulk_create(batch)
    values = {"now": now, "tasks": tasks - 1, "runs": runs}
    with connection.cursor() as cursor:
        for statement in (_OPTIONS, _RUNS, _TICKS, _FAILING):
            cursor.execute(statement.format(busy=BUSY, days=DAYS), values)
    busy = ScheduledTask.objects.order_by("pk").first()
    assert busy is not None
    for number in range(30):  # a history
        busy.description = f"edit {number}"
        with acting(Via.ADMIN, "ada"):
            busy.save(update_fields=["description"])
    lease = now + timedelta(days=1)
    for number in range(1, 4):
        times = {"started_at": now, "seen_at": now, "lease_until": lease}
        pk = f"00000000-0000-4000-8000-{number:012}"
        Worker.objects.create(
            id=pk, hostname="worker@host", pid=number, pool="prefork", concurrency=8, **times
        )
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("SELECT count(*) FROM dispatcher_taskrun")
        made = cursor.fetchone()[0]
    if made != runs:
        raise SystemExit(f"Not a measurement: {made} runs instead of {runs}")
    failed = TaskRun.objects.filter(scheduled_task=busy, status="failed").order_by("-pk").first()
    running = TaskRun.objects.filter(status="running").first()
    return {"task": busy, "failed": failed, "running": running}


def pages(rows: dict[str, Any]) -> dict[str, str]:
    tasks = reverse("admin:scheduling_scheduledtask_changelist")
    runs = reverse("admin:dispatcher_taskrun_changelist")
    overview = reverse("admin:dispatcher_overview")
    own, failed = f"{tasks}{rows['task'].pk}/", f"{runs}{rows['failed'].pk}/"
    running = f"{runs}{rows['running'].pk}/"
    return {
        "start page": reverse("admin:index"),
        "overview": overview,
        "overview, what changes": f"{overview}?fragment",
        "scheduled tasks": tasks,
        "scheduled tasks, page 500": f"{tasks}?p=500",
        "scheduled tasks, paused": f"{tasks}?state=paused",
        "scheduled tasks, cron": f"{tasks}?kind__exact=cron",
        "scheduled tasks, by owner": f"{tasks}?owner=owner+7",
        "scheduled tasks, by beginning of task": f"{tasks}?task=shop.tasks.job_1*",
        "scheduled tasks, last outcome succeeded": f"{tasks}?last_status=succeeded",
        "scheduled tasks, last outcome failed": f"{tasks}?last_status=failed",
        "scheduled tasks, last outcome missed": f"{tasks}?last_status=missed",
        "scheduled tasks, last outcome running": f"{tasks}?last_status=running",
        "scheduled tasks, search for one": f"{tasks}?q=idle+77777",
        "scheduled tasks, search for many": f"{tasks}?q=idle",
        "scheduled tasks, search in vain": f"{tasks}?q=nothing-of-that-name",
        "add": f"{tasks}add/",
        **{f"task, {page}": f"{own}{page}/" for page in _OF_A_TASK},
        "import": f"{tasks}import/",
        "export": f"{tasks}export/",
        "pause everything": reverse("admin:scheduling_stop_pause"),
        "runs": runs,
        "runs, page 100": f"{runs}?p=100",
        "runs, failed": f"{runs}?status__exact=failed",
        "runs, of the last hour": f"{runs}?since=hour",
        "runs, of a task": f"{runs}?scheduled_task__id__exact={rows['task'].pk}",
        "runs, by task function": f"{runs}?task=shop.tasks.job_7",
        "runs, search by id": f"{runs}?q={rows['failed'].pk}",
        "runs, search by name": f"{runs}?q=idle+777",
        "run": f"{failed}change/",
        "run, cancel": f"{running}cancel/",
        "run, rerun with other arguments": f"{failed}rerun/?arguments",
        "ticks": reverse("admin:dispatcher_tick_changelist"),
        "workers": reverse("admin:dispatcher_worker_changelist"),
        "tokens": reverse("admin:scheduling_api_apitoken_changelist"),
    }


_OF_A_TASK = ("change", "runs", "history", "run", "skip", "pause", "backfill", "delete")

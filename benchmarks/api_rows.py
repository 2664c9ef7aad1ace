"""A million schedules and a million runs, written by PostgreSQL itself.

The same numbers give the same rows in every run. A thousandth of the schedules has half of the
runs; the others have at most one each.
"""

from typing import Any

#: `n` counts the rows from 1. Slots lie a day and more ahead: nothing is due while it is measured.
_TASKS = """
INSERT INTO scheduling_scheduledtask (
    name, description, owner, "group", task, queue, kwargs, kind, cron_expression,
    interval_seconds, run_at, timezone, enabled, state_reason, state_reason_params,
    misfire_policy, overlap_policy, jitter_seconds, next_run_at, last_run_at, created_at, updated_at
)
SELECT
    (ARRAY['Invoice', 'Report', 'Sync', 'Clean up', 'Reminder'])[1 + n %% 5]
        || ' of customer ' || n,
    'Made by the benchmark.',
    'team-' || n %% 900 || '@example.com',
    CASE WHEN n %% 10 = 0 THEN '' ELSE 'group ' || n %% 300 END,
    'shop.tasks.job_' || n %% 40,
    (ARRAY['', '', '', '', 'reports', 'mail'])[1 + n %% 6],
    '{"region": "eu", "password": "secret"}',
    (ARRAY['cron', 'cron', 'interval', 'one_time'])[1 + n %% 4],
    CASE WHEN n %% 4 < 2 THEN n %% 60 || ' ' || n %% 24 || ' * * MON-FRI' ELSE '' END,
    CASE WHEN n %% 4 = 2 THEN 86400 * (1 + n %% 30) END,
    CASE WHEN n %% 4 = 3 THEN now() + interval '1 day' * (2 + n %% 300) END,
    (ARRAY['UTC', 'Europe/Berlin', 'Asia/Shanghai', 'America/New_York'])[1 + n %% 4],
    n %% 50 <> 0 OR n %% 1000 = 0,
    CASE WHEN n %% 1000 = 0 THEN 'set_aside' WHEN n %% 100 = 0 THEN 'finished'
        WHEN n %% 50 = 0 THEN 'paused' ELSE '' END,
    CASE WHEN n %% 1000 = 0 THEN '{"code": "x", "message": "spoilt"}'::jsonb ELSE '{}' END,
    (ARRAY['run_latest', 'run_all', 'skip'])[1 + n %% 3],
    (ARRAY['allow', 'allow', 'skip', 'queue_one'])[1 + n %% 4],
    CASE WHEN n %% 10 = 0 THEN 30 ELSE 0 END,
    CASE WHEN n %% 50 <> 0 THEN now() + interval '1 day' + interval '1 s' * (n %% 80000) END,
    now() - interval '1 day' + interval '1 s' * (n %% 80000),
    now() - interval '60 days' + interval '1 s' * n,
    now() - interval '60 days' + interval '1 s' * n
FROM generate_series(1, %s) AS n
"""

#: Ids are UUIDv7: milliseconds, then what is random elsewhere. One run in 10 s.
_RUNS = """
INSERT INTO dispatcher_taskrun (
    id, scheduled_task_id, name, task, trigger, scheduled_for, slot, slot_count, start_at, status,
    reason, reason_params, attempt, retries, revision, args, kwargs, queue, planned_at,
    published_at, started_at, claimed_at, finished_at, worker, message_id, result, exception,
    traceback, triggered_by, triggered_via
)
SELECT
    (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')
        || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
    task, 'Invoice of customer ' || task, 'shop.tasks.job_' || task %% 40, 'schedule',
    at, at, 1, at, status,
    CASE status WHEN 'failed' THEN 'exception' WHEN 'skipped' THEN 'overlap'
        WHEN 'missed' THEN 'misfire' ELSE '' END,
    '{}', CASE WHEN begun THEN 1 ELSE 0 END, 0, 1, '[]', '{"region": "eu"}',
    (ARRAY['', '', '', '', 'reports', 'mail'])[1 + task %% 6], at, at,
    CASE WHEN begun THEN at END, CASE WHEN begun THEN at END,
    CASE WHEN status <> 'published' THEN at + interval '1 s' * (n %% 90) END,
    CASE WHEN begun THEN 'worker' || n %% 20 || '@host' ELSE '' END, n::text, '{"rows": 17}',
    CASE WHEN status = 'failed' THEN 'ValueError: no' ELSE '' END,
    CASE WHEN status = 'failed' THEN repeat('File "x.py", line 1, in f\n', 40) ELSE '' END, '', ''
FROM (
    SELECT *, status IN ('succeeded', 'failed', 'lost') AS begun FROM (
        SELECT
            n,
            now() - interval '10 s' * (%(runs)s - n) AS at,
            CASE WHEN n %% 2 = 0 THEN 1 + (n * 7919::bigint) %% (%(tasks)s / 1000)
                ELSE 1 + (n * 7919::bigint) %% %(tasks)s END AS task,
            CASE WHEN n %% 2000 = 1 THEN 'lost' WHEN n %% 100 = 1 THEN 'failed'
                WHEN n %% 150 = 2 THEN 'skipped' WHEN n %% 160 = 3 THEN 'missed'
                WHEN n > %(runs)s - 500 THEN 'published' ELSE 'succeeded' END AS status
        FROM generate_series(1, %(runs)s) AS n
    ) AS numbered
) AS made
"""


def fill(tasks: int, runs: int) -> None:
    """Migrate, and write the rows into the empty tables."""
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute(_TASKS, [tasks])
        cursor.execute(_RUNS, {"tasks": tasks, "runs": runs})
        cursor.execute("VACUUM ANALYZE")
    connection.close()


def count(sql: str, *values: Any) -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return int(cursor.fetchone()[0])

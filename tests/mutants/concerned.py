"""Which modules are mutated, and which tests concern each.

First by name: `dispatcher/worker/gate.py` is the concern of every `test_gate*.py`, and the table
adds others. What they do not notice, the folders beside them may.
"""

from collections.abc import Iterator
from pathlib import Path

#: The hot and crash-critical modules, each with the tests beside its own that look at it first.
MODULES: dict[str, tuple[str, ...]] = {
    "dispatcher/plan/planner.py": ("contention", "set_aside"),
    "dispatcher/plan/decisions.py": ("planner", "misfire"),
    "dispatcher/plan/new_runs.py": ("planner", "runs"),
    "dispatcher/plan/misfire.py": ("misfire", "contention"),
    "dispatcher/publish/publisher.py": ("messages", "contention", "rescue", "ticking"),
    "dispatcher/publish/content.py": ("messages", "task_options", "next_try"),
    "dispatcher/publish/messages.py": ("publisher", "next_try", "signals"),
    "dispatcher/publish/broker.py": ("publisher", "rescue", "connections"),
    "dispatcher/worker/gate.py": ("claim", "verbs", "connections"),
    "dispatcher/worker/overlap.py": ("verbs_ends", "runs_on_commit"),
    "dispatcher/worker/record.py": ("pause_failing", "worker", "verbs"),
    "dispatcher/worker/celery_signals.py": ("record", "worker"),
    "dispatcher/worker/leases.py": ("worker", "connections", "holding"),
    "dispatcher/worker/holding.py": ("leases", "rescue"),
    "dispatcher/worker/next_try.py": ("celery_signals", "request"),
    "dispatcher/worker/request.py": ("worker", "celery_signals"),
    "dispatcher/worker/consumer.py": ("worker",),
    "dispatcher/worker/pause_failing.py": ("record",),
    "dispatcher/worker/stored_values.py": ("celery_signals",),
    "dispatcher/publish/refusals.py": ("refused_queues",),
    "dispatcher/publish/in_process.py": ("messages",),
    "dispatcher/upkeep/rescue.py": ("verbs_questions", "overlap", "holding"),
    "dispatcher/tick.py": ("ticking", "stop"),
    "dispatcher/runs/asked_for.py": ("runs", "contention", "verbs_ends"),
    "dispatcher/runs/backfilling.py": ("runs",),
    "dispatcher/runs/cancelling.py": ("runs", "contention", "verbs_ends"),
    "dispatcher/follow_edits.py": ("stop", "edit_races"),
    "dispatcher/signals.py": ("runs_on_commit", "contention"),
    "dispatcher/models/claim.py": ("verb_conditions", "verbs", "stop", "rescue"),
    "dispatcher/models/questions.py": ("verbs_questions", "verb_conditions", "publisher", "rescue"),
    "dispatcher/models/ends.py": ("record", "verbs"),
    "dispatcher/models/verbs.py": (
        "contention",
        "verb_conditions",
        "claim",
        "record",
        "publisher",
        "rescue",
    ),
    "dispatcher/models/bulk.py": ("planner", "misfire"),
    "scheduling/edits/transaction.py": (
        "all_or_nothing",
        "edits",
        "follow_edits",
        "trail",
        "skip_next",
        "edit_races",
    ),
    "scheduling/edits/settle.py": ("edits", "follow_edits"),
    "scheduling/edits/verbs.py": ("edits", "skip_next", "all_or_nothing", "edit_races"),
    "scheduling/edits/many.py": ("edits", "all_or_nothing", "edit_races", "trail"),
    "scheduling/validation/row.py": ("scheduled_task",),
    "scheduling/validation/errors.py": ("scheduled_task", "chinese_words"),
    "scheduling/models/queryset.py": ("scheduled_task", "edits", "set_aside", "planner_batches"),
    "scheduling/validation/arguments.py": ("calls", "scheduled_task"),
    "scheduling/database/blame.py": ("set_aside", "locking", "kept_for_ever"),
    "scheduling/database/own_connection.py": ("connections",),
    "scheduling/database/session.py": ("own_connection", "connections"),
    "scheduling/database/locking.py": ("locking", "planner_and_others", "edit_races"),
    "scheduling/schedules/policies.py": ("planner", "misfire_decisions"),
    "scheduling/schedules/zones.py": ("schedules", "cron", "clock_changes"),
    "scheduling/schedules/wall_clock.py": ("cron", "schedules"),
    "scheduling/schedules/cron.py": ("schedules", "clock_changes"),
    "scheduling/schedules/clock_changes.py": ("preview", "task_preview"),
    "scheduling/registry/masking.py": ("run_log",),
    "dispatcher/api/kernel/permissions.py": ("api_permissions", "access"),
}

#: Where to look next, by the beginning of the module's path. Left out: tests of processes, which
#: take minutes for each that survives, and those of pages, which look at other things.
BESIDE: dict[str, tuple[str, ...]] = {
    "scheduling/schedules": ("tests/scheduling", "tests/dispatcher/plan"),
    "scheduling/registry": ("tests/scheduling", "tests/dispatcher/admin"),
    "scheduling": ("tests/scheduling", "tests/dispatcher", "tests/dispatcher/plan"),
    "dispatcher/api": ("tests/dispatcher/api",),
    "dispatcher": (
        "tests/dispatcher",
        "tests/dispatcher/models",
        "tests/dispatcher/plan",
        "tests/dispatcher/publish",
        "tests/dispatcher/worker",
        "tests/dispatcher/upkeep",
    ),
}


def first(module: str, root: Path) -> list[str]:
    """The test files that concern the module, as paths from `root`."""
    stems = (Path(module).stem, *MODULES[module])
    return list(dict.fromkeys(path for each in stems for path in sorted(_files(each, root))))


def rest(module: str, root: Path) -> list[str]:
    """The test files beside them that need no process of their own."""
    known = set(first(module, root))
    folders = next(folders for start, folders in BESIDE.items() if module.startswith(start))
    deep = "tests/scheduling"
    found = (
        path
        for folder in folders
        for path in sorted((root / folder).glob("**/test_*.py" if folder == deep else "test_*.py"))
    )
    paths = dict.fromkeys(str(path.relative_to(root)) for path in found)
    return [path for path in paths if path not in known]


def _files(stem: str, root: Path) -> Iterator[str]:
    for folder in ("tests/dispatcher", "tests/scheduling"):
        for name in (f"test_{stem}.py", f"test_{stem}_*.py"):
            yield from (str(path.relative_to(root)) for path in (root / folder).rglob(name))

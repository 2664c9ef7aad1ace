"""Which modules are mutated, and which tests concern each.

By name: `dispatcher/worker/gate.py` is the concern of every `test_gate*.py`. The table adds the
others that look at it first; what is not found there is looked for in all tests of `WIDE`.
"""

from collections.abc import Iterator
from pathlib import Path

#: The hot and crash-critical modules, each with the tests beside its own that look at it.
MODULES: dict[str, tuple[str, ...]] = {
    "dispatcher/plan/planner.py": ("planner", "set_aside", "tick"),
    "dispatcher/plan/decisions.py": ("planner", "tick", "misfire"),
    "dispatcher/plan/new_runs.py": ("planner", "runs", "publisher"),
    "dispatcher/tick.py": ("tick", "stop", "set_aside"),
    "dispatcher/plan/misfire.py": ("misfire",),
    "dispatcher/publish/publisher.py": ("publisher", "rescue", "tick"),
    "dispatcher/worker/gate.py": ("gate", "verbs", "connections"),
    "dispatcher/worker/overlap.py": ("overlap",),
    "dispatcher/worker/record.py": ("record", "pause_failing", "runs", "verbs"),
    "dispatcher/worker/celery_signals.py": ("celery_signals", "record", "signals"),
    "dispatcher/worker/leases.py": ("worker", "record", "gate", "connections"),
    "dispatcher/worker/request.py": ("worker", "record", "gate", "connections"),
    "dispatcher/worker/consumer.py": ("worker", "record", "gate", "connections"),
    "dispatcher/upkeep/rescue.py": ("rescue", "overlap"),
    "dispatcher/publish/broker.py": ("rescue", "overlap"),
    "dispatcher/worker/pause_failing.py": ("pause_failing", "record"),
    "dispatcher/runs.py": ("runs", "overlap"),
    "dispatcher/follow_edits.py": ("follow_edits", "stop", "races"),
    "dispatcher/signals.py": ("signals",),
    "dispatcher/worker/stored_values.py": ("stored_values", "record"),
    "dispatcher/models/verbs.py": ("verbs", "publisher", "rescue", "overlap", "misfire", "stop"),
    "dispatcher/models/bulk.py": ("bulk", "planner", "misfire"),
    "scheduling/edits/transaction.py": (
        "edits",
        "follow_edits",
        "trail",
        "skip_next",
        "scheduled_task",
        "stop",
    ),
    "scheduling/edits/validation.py": ("validation", "scheduled_task", "admin", "preview"),
    "scheduling/models/queryset.py": ("scheduled_task", "edits", "set_aside", "list", "stop"),
    "scheduling/database/locking.py": ("locking", "races"),
    "scheduling/schedules/policies.py": ("policies", "schedules_properties", "planner", "misfire"),
    "scheduling/schedules/zones.py": ("zones", "schedules", "cron", "clock_changes"),
    "scheduling/schedules/wall_clock.py": ("wall_clock", "cron", "schedules"),
    "scheduling/schedules/cron.py": ("cron", "schedules", "clock_changes"),
    "scheduling/schedules/clock_changes.py": ("clock_changes", "preview"),
    "scheduling/registry/masking.py": ("masking", "run_log"),
    "dispatcher/api/kernel/permissions.py": ("permissions", "access"),
}

#: Where to look next. Left out: tests of processes, which take minutes for what survives.
WIDE = ("tests/dispatcher", "tests/scheduling")


def first(module: str, root: Path) -> list[str]:
    """The test files that concern the module, as paths from `root`."""
    stem = Path(module).stem
    stems = (stem, *MODULES[module])
    return list(dict.fromkeys(path for each in stems for path in sorted(_files(each, root))))


def rest(module: str, root: Path) -> list[str]:
    """All other test files that need no process of their own."""
    known = set(first(module, root))
    every = (path for folder in WIDE for path in sorted((root / folder).rglob("test_*.py")))
    return [path for path in (str(each.relative_to(root)) for each in every) if path not in known]


def _files(stem: str, root: Path) -> Iterator[str]:
    for folder in WIDE:
        for name in (f"test_{stem}.py", f"test_{stem}_*.py"):
            yield from (str(path.relative_to(root)) for path in (root / folder).rglob(name))

"""Which modules are mutated, and which tests concern each.

By name: `dispatcher/gate.py` is the concern of every `test_gate*.py`. The table adds the others
that look at it first; what is not found there is looked for in all tests of `WIDE`.
"""

from collections.abc import Iterator
from pathlib import Path

#: The hot and crash-critical modules, each with the tests beside its own that look at it.
MODULES: dict[str, tuple[str, ...]] = {
    "dispatcher/planner.py": ("planner", "set_aside", "tick"),
    "dispatcher/decisions.py": ("planner", "tick", "misfire"),
    "dispatcher/drafts.py": ("planner", "runs", "publisher"),
    "dispatcher/tick.py": ("tick", "stop", "set_aside"),
    "dispatcher/misfire.py": ("misfire",),
    "dispatcher/publisher.py": ("publisher", "rescue", "tick"),
    "dispatcher/gate.py": ("gate", "verbs", "connections"),
    "dispatcher/overlap.py": ("overlap",),
    "dispatcher/record.py": ("record", "failures", "runs", "verbs"),
    "dispatcher/receivers.py": ("receivers", "record", "signals"),
    "dispatcher/worker.py": ("worker", "record", "gate", "connections"),
    "dispatcher/rescue.py": ("rescue", "overlap"),
    "dispatcher/failures.py": ("failures", "record"),
    "dispatcher/runs.py": ("runs", "overlap"),
    "dispatcher/changes.py": ("changes", "stop", "races"),
    "dispatcher/signals.py": ("signals",),
    "dispatcher/results.py": ("results", "record"),
    "dispatcher/models/verbs.py": ("verbs", "publisher", "rescue", "overlap", "misfire", "stop"),
    "dispatcher/models/bulk.py": ("bulk", "planner", "misfire"),
    "scheduling/edits.py": ("edits", "changes", "trail", "skip_next", "scheduled_task", "stop"),
    "scheduling/cleaning.py": ("cleaning", "scheduled_task", "admin", "preview"),
    "scheduling/querysets.py": ("scheduled_task", "edits", "set_aside", "list", "stop"),
    "scheduling/locking.py": ("locking", "races"),
    "scheduling/policies.py": ("policies", "schedules_properties", "planner", "misfire"),
    "scheduling/zones.py": ("zones", "schedules", "cron", "clock_changes"),
    "scheduling/wall_clock.py": ("wall_clock", "cron", "schedules"),
    "scheduling/cron.py": ("cron", "schedules", "clock_changes"),
    "scheduling/clock_changes.py": ("clock_changes", "preview"),
    "scheduling/masking.py": ("masking", "logs"),
    "scheduling/api/permissions.py": ("permissions", "access"),
}

#: Where to look next. Left out: tests of processes, which take minutes for what survives.
WIDE = ("tests/dispatcher", "tests/scheduling", "tests/api")


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

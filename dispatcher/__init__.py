"""Makes scheduled tasks run, and remembers. The names below are the API for application code."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dispatcher.recommended import RECOMMENDED
    from dispatcher.runs import backfill, cancel, rerun, run_now, run_task
    from dispatcher.signals import run_finished
    from dispatcher.worker.installation import install

__version__ = "0.1.0"  # the only place: the wheel reads it from here

__all__ = [
    "RECOMMENDED",
    "backfill",
    "cancel",
    "install",
    "rerun",
    "run_finished",
    "run_now",
    "run_task",
]

_HOMES = {
    "RECOMMENDED": "dispatcher.recommended",
    "install": "dispatcher.worker.installation",
    "run_finished": "dispatcher.signals",
}


def __getattr__(name: str) -> Any:
    """Import on first use: `install` is called before Django's apps are ready, the others need
    its models."""
    if name not in __all__:
        raise AttributeError(f"module 'dispatcher' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "dispatcher.runs")), name)

"""The admin of what happened. Each module registers its own."""

from dispatcher.admin import processes, runs, scheduled_tasks, stop

__all__ = ["processes", "runs", "scheduled_tasks", "stop"]

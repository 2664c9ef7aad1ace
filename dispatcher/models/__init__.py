"""What happened: runs and their attempts, ticks, and the worker processes."""

from dispatcher.models.process import Tick, Worker
from dispatcher.models.run import RunAttempt, Status, TaskRun, Trigger

__all__ = ["RunAttempt", "Status", "TaskRun", "Tick", "Trigger", "Worker"]

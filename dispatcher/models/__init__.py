"""What happened: runs and their attempts, ticks, the worker processes, and what fails."""

from dispatcher.models.failing import Failing
from dispatcher.models.process import Tick, Worker
from dispatcher.models.run import RunAttempt, TaskRun
from dispatcher.models.status import Status, Trigger

__all__ = ["Failing", "RunAttempt", "Status", "TaskRun", "Tick", "Trigger", "Worker"]

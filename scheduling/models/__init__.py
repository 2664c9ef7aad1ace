"""The row: what should run and when."""

from scheduling.models.choices import Kind, MisfirePolicy, OnLost, OverlapPolicy
from scheduling.models.scheduled_task import ScheduledTask
from scheduling.models.state import State
from scheduling.stop import Stop

__all__ = [
    "Kind",
    "MisfirePolicy",
    "OnLost",
    "OverlapPolicy",
    "ScheduledTask",
    "State",
    "Stop",
]

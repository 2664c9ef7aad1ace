"""Runs that people and programs ask for: now, at a time, again, for slots of the past; and cancel.

Each commits its rows first and publishes on commit: in a transaction that rolls back nothing runs.
"""

from dispatcher.runs.asked_for import rerun, run_now, run_task
from dispatcher.runs.backfilling import backfill, backfill_slots
from dispatcher.runs.cancelling import cancel

__all__ = ["backfill", "backfill_slots", "cancel", "rerun", "run_now", "run_task"]

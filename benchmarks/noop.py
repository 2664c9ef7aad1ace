"""The task that the worker's benchmark runs: nothing, so that what is measured is around it."""

from celery import shared_task


@shared_task
def noop(number: int) -> None:
    """Return at once."""

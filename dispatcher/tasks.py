"""The dispatcher's own Celery tasks: doors, one line each."""

from celery import shared_task


@shared_task(name="dispatcher.tick", ignore_result=True)
def tick() -> None:
    """Plan and publish what is due. Sent by beat every minute."""
    from dispatcher.tick import tick

    tick()


@shared_task(name="dispatcher.rescue", ignore_result=True)
def rescue() -> None:
    """Repair what was lost. Sent by beat every 20 seconds."""
    from dispatcher.tick import rescue_pass

    rescue_pass()

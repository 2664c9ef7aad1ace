"""The dispatcher's own Celery tasks: doors."""

import logging
from typing import Any

from celery import shared_task

from scheduling.celery_app import installed

logger = logging.getLogger(__name__)


# `expires` as in the beat entries, and here because django-celery-beat drops it there.


@shared_task(name="dispatcher.tick", ignore_result=True, expires=55)
def tick() -> None:
    """Plan and publish what is due. Sent by beat every minute."""
    from dispatcher.tick import tick
    from dispatcher.worker import connections

    connections.replace_dead()
    tick()


@shared_task(name="dispatcher.rescue", ignore_result=True, expires=18)
def rescue() -> None:
    """Repair what was lost. Sent by beat every 20 seconds."""
    from dispatcher.tick import rescue_pass
    from dispatcher.worker import connections

    connections.replace_dead()
    rescue_pass()


def tick_soon(**signal: Any) -> None:
    """Ask for a tick now. Receiver of `everything_resumed`; without a broker beat's next one does
    the same work."""
    from dispatcher.publish import in_process, pool
    from dispatcher.publish.broker import BROKER_ERRORS, POOL_TIMEOUT

    app = installed()
    if app is None or in_process.is_held_back() or app.conf.task_always_eager:
        return
    try:
        with pool.producers(app).acquire(block=True, timeout=POOL_TIMEOUT) as producer:
            app.send_task("dispatcher.tick", producer=producer, retry=False, expires=55)
    except BROKER_ERRORS as error:
        logger.warning("No tick could be asked for: %s", error, extra={"action": "broker_away"})

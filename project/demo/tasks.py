"""Example tasks. Ordinary Celery tasks: Minutehand needs nothing special in them."""

import logging
import time

from celery import shared_task

logger = logging.getLogger(__name__)


@shared_task(name="demo.heartbeat")
def heartbeat() -> str:
    """Does nothing, and says so."""
    return "alive"


@shared_task(name="demo.add")
def add(a: int, b: int) -> int:
    """Adds two whole numbers."""
    return a + b


@shared_task(name="demo.send_report")
def send_report(name: str, pages: int = 1) -> dict[str, object]:
    """Pretends to send a report to somebody."""
    logger.info("A report of %d pages for %s", pages, name)
    return {"sent_to": name, "pages": pages}


@shared_task(name="demo.import_orders")
def import_orders(file_name: str = "orders.csv") -> None:
    """Always fails, so that there is a failed run with a traceback to look at."""
    columns = ["number", "customer"]
    if "amount" not in columns:
        raise ValueError(f"{file_name}: the column 'amount' is missing, found {columns}")


@shared_task(name="demo.tidy_up")
def tidy_up(seconds: int = 5) -> str:
    """Takes some seconds."""
    time.sleep(seconds)
    return f"tidied up for {seconds} s"

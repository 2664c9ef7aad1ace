"""The Celery tasks of a shop, as the pages of the tests show them. They never run."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from project.celery import app


def send_report(recipient: str, pages: int = 1) -> dict[str, Any]:
    """Sends the figures of the day by mail."""
    return {"sent_to": recipient, "pages": pages}


def import_orders(file_name: str = "orders.csv") -> int:
    """Reads the orders that the marketplace has left."""
    return 0


def sync_stock(warehouse: str) -> int:
    """Compares the stock with what the warehouse says."""
    return 0


def update_prices(currency: str = "EUR") -> int:
    """Takes over the prices of the suppliers."""
    return 0


def clear_carts(days: int = 30) -> int:
    """Deletes carts that nobody has touched for so many days."""
    return 0


def mail_readers(issue: int) -> int:
    """Sends one issue to all readers."""
    return 0


def back_up(bucket: str, token: str) -> str:
    """Copies the database to a bucket."""
    return bucket


TASKS = (
    *(send_report, import_orders, sync_stock, update_prices),
    *(clear_carts, mail_readers, back_up),
)


@contextmanager
def registered() -> Iterator[None]:
    """They are known as `shop.tasks.…` meanwhile."""
    names = [f"shop.tasks.{function.__name__}" for function in TASKS]
    for name, function in zip(names, TASKS, strict=True):
        app.task(function, name=name)
    try:
        yield
    finally:
        for name in names:
            app.tasks.pop(name)

"""What the end of an attempt leaves in the row of its run."""

from dataclasses import dataclass
from typing import Any

from django.db import models
from django.db.models import Value
from django.db.models.functions import Concat, Right

from dispatcher import conf
from dispatcher.models.statements import Slot

#: What every end clears.
RELEASED: dict[str, Any] = {"publish_at": None, "lease_until": None, "holds": None, "waits": None}


@dataclass(frozen=True)
class End:
    """How an attempt ended: a status, its reason, and what is kept of it."""

    status: str
    reason: str = ""
    reason_params: dict[str, Any] | None = None
    result: Any = None
    exception: str = ""
    traceback: str = ""
    log: str = ""

    def columns(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "reason": self.reason,
            "reason_params": self.reason_params or {},
            "result": self.result,
            "exception": self.exception,
            "traceback": self.traceback,
        }


def logged(text: Any) -> dict[str, Any]:
    """The log with these lines at its end: the tries of `self.retry` are one attempt."""
    lines = text if isinstance(text, Slot) else Value(text)
    whole = Concat("log", lines, output_field=models.TextField())
    return {"log": Right(whole, conf.RUN_LOG_KIB.value * 1024)} if text else {}

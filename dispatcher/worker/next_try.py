"""The messages that a run sends for itself: `self.retry` and `self.replace`.

Celery gives both the id of the message that is executing. Whatever else has a hand in their headers
(tracers, `self.retry(headers=…)`, signatures with options), here they get back whose they are, and
what they carry is kept, so that rescue sends the same again if they are lost.
"""

import logging
from typing import Any

from kombu.utils import json as message_json

from dispatcher.publish.messages import SUSPECT
from dispatcher.worker.gate import attempt_of, run_id_of, tries_of

logger = logging.getLogger(__name__)


def see(request: Any, headers: dict[str, Any], body: Any) -> None:
    """A run is about to send a message: its own next try, or another one that is nobody's run."""
    if request.id and headers.get("id") == request.id:
        keep_identity(request, headers)
        request.own_retry_at = headers.get("eta")
        request.next_try = _kept(headers, body)
    elif _takes_our_name(request, headers):
        for name in ("run_id", "attempt", "tries"):
            headers.pop(name, None)


def keep_identity(request: Any, headers: dict[str, Any]) -> None:
    headers["run_id"] = str(run_id_of(request))
    headers["attempt"] = attempt_of(request)
    headers["tries"] = tries_of(request) + 1
    headers.pop(SUSPECT, None)  # of this message; it has been taken


def _takes_our_name(request: Any, headers: dict[str, Any]) -> bool:
    """Another task that was given the headers of this run: started under its name, it would be
    vetoed. The next attempt, and runs that this one wakes, have names of their own."""
    theirs = (run_id_of(headers), attempt_of(headers))
    return theirs == (run_id_of(request), attempt_of(request))


def _kept(headers: dict[str, Any], body: Any) -> dict[str, Any] | None:
    """What the row keeps of the message; None where that is not JSON."""
    try:
        args, kwargs, _embedded = body
        return {
            "task": headers["task"],
            "retries": headers.get("retries") or 0,
            "arguments": message_json.dumps([list(args), dict(kwargs)]),
        }
    except Exception:  # a pickled message: anything may be in it
        logger.warning(
            "The arguments of the next try of %s are not JSON; if its message is lost, it is sent"
            " again with those of the first try",
            headers.get("task"),
            extra={"action": "next_try_not_kept"},
        )
        return None

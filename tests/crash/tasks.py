"""The Celery task of the scenarios. What it did is kept in a file, which a dead process leaves."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from celery import Task, shared_task
from celery.exceptions import Ignore, Reject

#: One line for each call, written at once; set by the test.
record = Path(os.devnull)


def note(**what: object) -> None:
    with open(record, "a") as file:
        file.write(json.dumps(what) + "\n")


def calls() -> list[dict]:
    """What was called, oldest first: `run_id`, `attempt`, `retries`, `version`, `at`."""
    return [json.loads(line) for line in record.read_text().splitlines()]


def note_call(request: object, version: object) -> None:
    note(
        run_id=request.run_id,
        attempt=max(request.attempt, 1),
        retries=request.retries,
        version=version,
        at=datetime.now(UTC).isoformat(),
    )


@shared_task(bind=True, max_retries=None)
def act(self: Task, version: object = 1, do: str = "succeed", **more: object) -> str:
    """Does what `do` says. `version`: which definition it was called by."""
    note_call(self.request, version)
    match do:
        case "fail":
            raise ValueError("it failed")
        case "fail_twice" if self.request.attempt < 3:
            raise ValueError("it failed")
        case "retry_once" if self.request.retries < 1:
            raise self.retry(countdown=10)
        case "ignore":
            raise Ignore
        case "reject":
            raise Reject("not for me", requeue=False)
    return "done"

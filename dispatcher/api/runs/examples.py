"""Examples of the OpenAPI description: of bodies about runs."""

from dispatcher.api.kernel.examples import request

RUN = [
    request("With its own arguments", {}),
    request("With others", {"kwargs": {"region": "us"}}),
]
RUN_TASK = [
    request("Now", {"task": "shop.tasks.send_report", "kwargs": {"region": "eu"}}),
    request("At a time", {"task": "shop.tasks.end_sale", "at": "2030-12-31T23:59:00+08:00"}),
]
BACKFILL = [
    request(
        "Which slots would that be?",
        {"start": "2026-01-01T00:00:00Z", "end": "2026-01-08T00:00:00Z", "dry_run": True},
    ),
    request("Run them", {"start": "2026-01-01T00:00:00Z", "end": "2026-01-08T00:00:00Z"}),
]

"""Examples of the OpenAPI description: of bodies, as people send them."""

from dispatcher.api.kernel.examples import request

CRON = request(
    "Nine o'clock on weekdays",
    {
        "name": "Morning report",
        "task": "shop.tasks.send_report",
        "kwargs": {"region": "eu"},
        "kind": "cron",
        "cron_expression": "0 9 * * MON-FRI",
        "timezone": "Europe/Berlin",
    },
)
INTERVAL = request(
    "Every five minutes",
    {
        "name": "Sync stock",
        "task": "shop.tasks.sync_stock",
        "kind": "interval",
        "interval_seconds": 300,
        "overlap_policy": "skip",
    },
)
ONE_TIME = request(
    "Once",
    {
        "name": "End of sale",
        "task": "shop.tasks.end_sale",
        "kind": "one_time",
        "run_at": "2030-12-31T23:59:00+08:00",
    },
)
CREATE = [CRON, INTERVAL, ONE_TIME]
REPLACE = [CRON]
CHANGE = [
    request("Off", {"enabled": False}),
    request("Another time", {"cron_expression": "0 8 * * *"}),
]
PAUSE = [
    request("Until somebody resumes it", {}),
    request("For a night", {"until": "2030-01-01T06:00:00Z", "reason": "The mill is closed."}),
]
PREVIEW = [
    request("A rule that is being typed", {"kind": "cron", "cron_expression": "*/5 * * * *"})
]

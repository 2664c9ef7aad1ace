"""What a form of a scheduled task is refused for: what is typed, and the field that complains."""

from tests.dispatcher.admin.pages import ADD

DEEP = "[" * 100_000 + "]" * 100_000

BAD = {
    "no name": ({"name": ""}, "name"),
    "no task": ({"task": ""}, "task"),
    "a task of the dispatcher": ({"task": "dispatcher.tick"}, "task"),
    "no kind": ({"kind": ""}, "kind"),
    "a kind that is none": ({"kind": "sometimes"}, "kind"),
    "no interval": ({"interval_seconds": ""}, "interval_seconds"),
    "an interval of text": ({"interval_seconds": "soon"}, "interval_seconds"),
    "an interval of 0": ({"interval_seconds": "0"}, "interval_seconds"),
    "bad cron": ({"kind": "cron", "cron_expression": "61 * * * *"}, "cron_expression"),
    "no cron": ({"kind": "cron", "cron_expression": ""}, "cron_expression"),
    "half a time": ({"kind": "one_time", "run_at_0": "2099-01-01"}, "run_at"),
    "no time": ({"kind": "one_time"}, "run_at"),
    "a past time": (
        {"kind": "one_time", "run_at_0": "2001-01-01", "run_at_1": "00:00"},
        "run_at",
    ),
    "a date that is none": (
        {"kind": "one_time", "run_at_0": "2099-02-30", "run_at_1": "00:00"},
        "run_at",
    ),
    "a zone that is none": ({"timezone": "Mars/Olympus"}, "timezone"),
    "a zone that is none, with a time": (
        {"timezone": "Mars", "starts_at_0": "2099-01-01", "starts_at_1": "00:00"},
        "timezone",
    ),
    "an end before the start": (
        {
            "starts_at_0": "2099-01-02",
            "starts_at_1": "00:00",
            "ends_at_0": "2099-01-01",
            "ends_at_1": "00:00",
        },
        "ends_at",
    ),
    "arguments that are no JSON": ({"kwargs": "{a: 1}"}, "kwargs"),
    "arguments that are no object": ({"kwargs": "[1]"}, "kwargs"),
    "arguments that are no list": ({"args": '{"a": 1}'}, "args"),
    "arguments that do not fit": ({"task": ADD, "kwargs": '{"c": 1}'}, "kwargs"),
    "NaN": ({"args": "[NaN]"}, "args"),
    "NUL": ({"args": '["\\u0000"]'}, "args"),
    "a number of 5,000 digits": ({"args": f"[{'1' * 5000}]"}, "args"),
    "nesting without end": ({"args": DEEP}, "args"),
    "a priority of 10": ({"priority": "10"}, "priority"),
    "the dispatcher's queue": ({"queue": "dispatcher"}, "queue"),
    "a soft limit above the hard one": (
        {"soft_time_limit": "60", "time_limit": "30"},
        "soft_time_limit",
    ),
}

"""Scheduled tasks as teams have them: cron in eight zones, intervals, one-time jobs, and options.

The same number gives the same row in every run; only the slot differs. Some 600 rules in all.
"""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from scheduling.models import ScheduledTask

ZONES = [
    *("UTC", "Europe/Berlin", "Europe/London", "America/New_York"),
    *("America/Sao_Paulo", "Asia/Kolkata", "Asia/Shanghai", "Australia/Sydney"),
]
ZERO = timedelta(0)
INTERVALS = [300, 420, 600, 900, 1200, 1800, 2700, 3600, 5400, 7200, 14400, 21600, 43200, 86400]


def due(number: int, slot: datetime) -> Iterator[ScheduledTask]:
    """Rows with exactly one slot in the 20 s up to `slot` (a full minute), the next 5 min later."""
    for n in range(number):
        yield _row(random.Random(n), f"due {n}", slot, (_hourly, _twice_an_hour, _daily, _weekly))


def idle(number: int, slot: datetime) -> Iterator[ScheduledTask]:
    """Rows whose next slot is 3 to 20 hours after `slot`."""
    for n in range(number):
        pick = random.Random(-n - 1)
        later = slot + timedelta(minutes=pick.randrange(180, 1200))
        yield _row(pick, f"idle {n}", later, (_daily, _weekly))


def warm(number: int, slot: datetime) -> Iterator[ScheduledTask]:
    """Daily rows with one slot at `slot`."""
    for n in range(number):
        yield _row(random.Random(n), f"warm {n}", slot, (_daily,), kinds=("cron",))


def _row(pick, name, slot, crons, kinds=("cron",) * 12 + ("interval",) * 7 + ("one_time",)):
    kind = pick.choice(kinds)
    rule = {"cron": _cron, "interval": _interval, "one_time": _one_time}[kind]
    return ScheduledTask(
        name=name,
        kind=kind,
        task=f"shop.tasks.job_{pick.randrange(40)}",
        args=[pick.randrange(10_000), "nightly"],
        kwargs={"region": pick.choice(["eu", "us", "cn"]), "dry_run": False},
        queue=pick.choice(["", "", "", "", "", "reports", "mail"]),
        priority=pick.choice([None, None, None, None, 3, 9]),
        jitter_seconds=pick.choice([0] * 9 + [5]),
        expires_seconds=pick.choice([None, None, None, 600, 3600]),
        misfire_policy=pick.choice(["run_latest", "run_latest", "run_all", "skip"]),
        overlap_policy=pick.choice(["allow", "allow", "skip", "queue_one"]),
        max_runs=pick.choice([None] * 19 + [1000]),
        time_limit=pick.choice([None, None, 300]),
        max_retries=pick.choice([0, 0, 3]),
        **rule(pick, slot, crons),
    )


def _cron(pick, slot, crons):
    zone = pick.choice(ZONES)
    expression = pick.choice(crons)(pick, slot.astimezone(ZoneInfo(zone)))
    return {
        "timezone": zone,
        "cron_expression": expression,
        "next_run_at": slot,
        "slots_used": 7,
        "last_run_at": slot - timedelta(days=7),
    }


def _hourly(pick, local):
    return f"{local.minute} * * * *"


def _twice_an_hour(pick, local):
    other = (local.minute + pick.randrange(5, 56)) % 60
    return "{},{} * * * *".format(*sorted((local.minute, other)))


def _daily(pick, local):
    hours = sorted({local.hour, (local.hour + pick.choice([0, 21, 22])) % 24})
    return f"{local.minute} {','.join(map(str, hours))} * * *"


def _weekly(pick, local):
    days = sorted({local.isoweekday(), pick.randrange(1, 8)})
    return f"{local.minute} {local.hour} * * {','.join(map(str, days))}"


def _interval(pick, slot, crons):
    every = timedelta(seconds=pick.choice(INTERVALS))
    mine = slot - timedelta(seconds=pick.randrange(20))
    return {
        "interval_seconds": int(every.total_seconds()),
        "starts_at": mine - (pick.randrange(1, 1000) * every if _hourly in crons else ZERO),
        "next_run_at": mine,
        "slots_used": 7,
        "last_run_at": mine - every,
    }


def _one_time(pick, slot, crons):
    return {"run_at": slot, "next_run_at": slot}

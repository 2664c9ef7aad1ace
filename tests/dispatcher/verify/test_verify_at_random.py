"""Whatever people and outages do, `verify_slots` finds every slot accounted for."""

import random
from contextlib import suppress
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError

from dispatcher.models import TaskRun
from scheduling.models import ScheduledTask
from scheduling.stop import Stop
from tests.dispatcher.verify.clock import (
    MINUTE,
    OK,
    S,
    interval,
)

pytestmark = pytest.mark.django_db


# Whatever happens ---------------------------------------------------------------------------------


def some_rule(dice, clock):
    kind = dice.choice(["interval", "cron", "one_time"])
    return {
        "interval": {
            "kind": "interval",
            "interval_seconds": dice.choice([1, 7, 30, 60, 600]),
            "cron_expression": "",
            "run_at": None,
        },
        "cron": {
            "kind": "cron",
            "cron_expression": dice.choice(["* * * * *", "*/7 * * * *", "*/20 * * * * *"]),
            "interval_seconds": None,
            "run_at": None,
        },
        "one_time": {
            "kind": "one_time",
            "run_at": clock.now + dice.choice([5, 60, 600]) * S,
            "interval_seconds": None,
            "cron_expression": "",
        },
    }[kind]


DEEDS = (
    *("create", "tick", "tick", "tick", "wait", "outage", "late", "stop"),
    *("edit", "travel", "remark", "pause", "until", "resume", "delete", "skip", "limit", "aside"),
)


def step(dice, clock, names):
    tasks = ScheduledTask.objects.order_by("pk")
    task = dice.choice(list(tasks)) if tasks else None
    deed = dice.choice(DEEDS)
    if deed == "create" and len(tasks) < 4:
        limits = {"max_runs": dice.choice([None, None, 5])}
        policy = {"misfire_policy": dice.choice(["run_latest", "run_all", "skip"])}
        row = ScheduledTask(name=f"job {next(names)}", task=OK, queue="verify", **limits, **policy)
        for name, value in some_rule(dice, clock).items():
            setattr(row, name, value)
        row.save()
    elif deed == "tick":
        clock.pass_(dice.choice([1, 20, 60, 61]) * S)
    elif deed == "wait":
        clock.pass_(dice.choice([2, 5, 15]) * MINUTE)
    elif deed in ("outage", "late"):
        clock.now += dice.choice([1, 45, 100, 1000, 4000]) * S
    elif deed == "stop":
        stopped = Stop.objects.in_force()
        if not stopped.update(in_force=None, resumed_at=clock.now):
            Stop.objects.create(paused_at=clock.now)
    elif task is not None:
        change(deed, dice, clock, tasks.filter(pk=task.pk), task)


def change(deed, dice, clock, rows, task):
    if deed == "edit":
        rows.update(**some_rule(dice, clock))
    elif deed == "travel":
        rows.update(priority=dice.choice([None, 1, 2]))
    elif deed == "remark":
        rows.update(owner=dice.choice("abc"))
    elif deed == "pause":
        task.pause()
    elif deed == "until":
        task.pause(until=clock.now + 3 * MINUTE)
    elif deed == "resume":
        with suppress(ValidationError):  # it has no further slot
            task.resume()
    elif deed == "delete" and dice.random() < 0.3:
        task.delete()
    elif deed == "skip" and task.upcoming(2, now=clock.now):
        slots = task.upcoming(2, now=clock.now)
        rows.update(skip_slots=[slot.isoformat() for slot in slots])
    elif deed == "limit":
        rows.update(max_runs=dice.choice([None, 1, 20, 1000]))
    elif deed == "aside" and dice.random() < 0.3:
        rows.set_aside("x", "it broke", clock.now)
        if dice.random() < 0.5:
            rows.keep(state_reason_at=clock.now - timedelta(days=2))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("seed", range(12))
def test_whatever_people_and_outages_do_every_slot_is_accounted_for(clock, seed):
    dice, names = random.Random(seed), iter(range(1000))
    interval("the first", every=20)
    clock.pass_(5 * MINUTE)
    for _number in range(40):
        step(dice, clock, names)
    Stop.objects.update(in_force=None, resumed_at=clock.now)
    ScheduledTask.objects.filter(state_reason="set_aside").keep(
        state_reason_at=clock.now - timedelta(days=2)
    )
    clock.pass_(5 * MINUTE)
    report = clock.verify()
    assert [f.sentence for found in report.listed.values() for f in found] == []
    assert report.is_clean and report.schedules > 0

    # And what is taken away now is missed.
    aside = ScheduledTask.history.filter(state_reason="set_aside").values("name")
    ended = TaskRun.objects.exclude(name__in=aside).filter(slot__lte=report.until)
    victim = dice.choice(ended.order_by("pk") or [TaskRun(slot_count=0)])
    victim.pk and TaskRun.objects.filter(pk=victim.pk).delete()
    assert clock.verify().counts["missing"] == victim.slot_count


def test_it_takes_few_queries_for_each_schedule(clock, django_assert_max_num_queries):
    for number in range(6):
        interval(f"job {number}", every=30)
    clock.pass_(5 * MINUTE)
    with django_assert_max_num_queries(6 + 2 * 6):
        assert clock.verify().is_clean

"""Schedules whose slots are counted naively, what an outage leaves of them, and what became of each
slot, without asking the product for one.
"""

from collections import Counter
from datetime import timedelta

from dispatcher.models import TaskRun
from dispatcher.plan import misfire, planner
from dispatcher.publish import publisher
from scheduling.models import ScheduledTask
from scheduling.schedules.policies import CATCH_UP_LIMIT

OK = "tests.integration.tasks_app.tasks.ok"
S = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
POLICIES = ("run_latest", "run_all", "skip")

# Schedules, and their slots counted naively ------------------------------------------------------


def every(seconds, start):
    """The slots of an interval, as a function of (after, until)."""

    def slots(after, until):
        count = int((until - start).total_seconds() // seconds)
        found = [start + k * seconds * S for k in range(count + 1)]
        return [slot for slot in found if after < slot <= until]

    return slots


def minutes_of_the_hour(step):
    """The slots of `*/step * * * *`: every minute is looked at."""

    def slots(after, until):
        minute = after.replace(second=0, microsecond=0)
        found = []
        while minute <= until:
            if minute > after and minute.minute % step == 0:
                found.append(minute)
            minute += MINUTE
        return found

    return slots


def once(at):
    return lambda after, until: [at] if after < at <= until else []


def interval(start, seconds=5, **columns):
    rule = {"kind": "interval", "interval_seconds": seconds}
    return make(start, **rule, **columns), every(seconds, start)


def cron(start, step=7, **columns):
    rule = {"kind": "cron", "cron_expression": f"*/{step} * * * *"}
    return make(start, **rule, **columns), minutes_of_the_hour(step)


def one_time(start, **columns):
    at = start + 61 * S  # planned by the last tick before the outage
    return make(start, kind="one_time", run_at=at, **columns), once(at)


def one_time_later(start, **columns):
    at = start + 30 * MINUTE  # in the middle of the outage
    return make(start, kind="one_time", run_at=at, **columns), once(at)


KINDS = (interval, cron, one_time, one_time_later)


def make(start, name="job", **columns):
    """A row as it was created at `start`."""
    columns = {"armed_at": start - S, "created_at": start} | columns
    return ScheduledTask.objects.bulk_create([ScheduledTask(name=name, task=OK, **columns)])[0]


# What an outage leaves ---------------------------------------------------------------------------


def plan(now):
    for ids in planner.due_batches(now):
        planner.plan_batch(ids, now)


def without_beat(start, end):
    """The last tick before it was whole, and its runs have run."""
    plan(start)
    for run in TaskRun.objects.filter(status="planned"):
        TaskRun.objects.filter(pk=run.pk).update(
            status="succeeded", publish_at=None, finished_at=run.start_at + S, attempt=1
        )


def without_dispatcher(start, end):
    """It died in its last tick, between the plan and the publishing."""
    plan(start)


def without_broker(start, end):
    """The dispatcher ticked each minute, and could publish nothing."""
    for minute in range(int((end - start) / MINUTE)):
        plan(start + minute * MINUTE)


OUTAGES = (without_beat, without_dispatcher, without_broker)


# What became of each slot ------------------------------------------------------------------------


def account(expected, since, until):
    """{slot: status}; AssertionError unless each of the expected slots is in exactly one row, and
    no row holds another one."""
    count, status = Counter(), {}
    for run in TaskRun.objects.exclude(slot=None).order_by("slot"):
        inside = [slot for slot in expected if run.slot <= slot <= (run.last_slot or run.slot)]
        assert len(inside) == run.slot_count, (run.slot, run.last_slot, run.slot_count)
        assert inside[0] == run.slot
        count.update(inside)
        status |= dict.fromkeys(inside, run.status)
    wanted = [slot for slot in expected if since <= slot <= until]
    assert {slot: count[slot] for slot in wanted} == dict.fromkeys(wanted, 1)
    assert set(count.values()) <= {1}
    return {slot: status[slot] for slot in wanted}


def to_run(policy, undecided, end):
    """Which of the slots up to `end` run in the end, of those that were late or came meanwhile."""
    if not undecided or undecided[0] >= end - 60 * S:
        return undecided
    if policy == "run_latest":
        return undecided[-1:]
    if policy == "run_all":
        return undecided[-CATCH_UP_LIMIT:]
    return [slot for slot in undecided if slot >= end - 60 * S]


def stored():
    return dict(TaskRun.objects.values_list("slot", "status"))


def sent_slots(messages):
    slots = {str(pk): slot for pk, slot in TaskRun.objects.values_list("pk", "slot")}
    return sorted(slots[message["headers"]["run_id"]] for message in messages)


def decide_due(now):
    due = publisher.take(TaskRun.objects.publishable(now))
    kept = misfire.decide_again(due, now).runs
    TaskRun.objects.filter(pk__in=[run.pk for run in kept]).update(publish_at=now)  # not published

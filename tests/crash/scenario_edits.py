"""The edit transaction, from whoever it comes, and runs that people ask for."""

from collections.abc import Callable
from typing import Any

import dispatcher
from dispatcher.models import Status, TaskRun
from scheduling.models import ScheduledTask, State
from tests.crash import broker
from tests.crash.oracle import Expected
from tests.crash.parts import ACT, Part, add, at, get, one_time, slots, task
from tests.crash.scenario_tick import CRON, NOT_ALL
from tests.crash.world import World


def _prepare() -> None:
    half = {"interval_seconds": 40, "end": 40}
    add(
        *(task(name) for name in ("travels", "rule", "sent later", "cancelled")),
        *(task(name, **half) for name in ("described", "bulk", "updated one", "updated two")),
        task("asked", more={"hold": 30}, **half),
        task("paused", end=80),
        task("skipped", end=80),
        task("deleted"),
        task("garbage", kind="cron", cron_expression="61 * * * *", end=60),
        task("spoilt", **CRON, end=60),
        one_time("again", 0),
        task("counted", end=200, max_runs=4),
        task("until", end=140),
    )


def _edit(name: str, **columns: Any) -> Callable[[], None]:
    def edit() -> None:
        row = get(name)
        for column, value in columns.items():
            setattr(row, column, value)
        row.save(update_fields=list(columns) if len(columns) == 1 else None)

    return edit


def _create() -> None:
    if not ScheduledTask.objects.filter(name="created").exists():
        kwargs = {"name": "created"}
        ScheduledTask.objects.create_one_time("created", ACT, at(35), args=[1], kwargs=kwargs)


def _create_paused() -> None:
    if not ScheduledTask.objects.filter(name="created, paused").exists():
        ScheduledTask.objects.create_interval("created, paused", ACT, 20, enabled=False)


def _create_in_bulk() -> None:
    if not ScheduledTask.objects.filter(name="created in bulk").exists():
        ScheduledTask.objects.bulk_create([task("created in bulk", start=80, end=80)])


def _delete() -> None:
    for row in ScheduledTask.objects.filter(name="deleted"):
        row.delete()
        row.delete()


def _update() -> None:
    rows = ScheduledTask.objects.filter(name__startswith="updated")
    rows.update(args=[2], queue="other")


def _bulk_update() -> None:
    row = get("bulk")
    row.args = [2]
    ScheduledTask.objects.bulk_update([row], ["args"])


def _pause_twice() -> None:
    get("paused").pause(by="somebody")
    get("paused").pause(by="somebody else")


def _edit_without_broker() -> None:
    with broker.away():
        _edit("sent later", args=[2])()


def _first_edits(world: World) -> None:
    add(task("unplanned", start=-40, next_run_at=at(-40)))  # the tick was away meanwhile
    world.edit(_edit("travels", args=[2]))
    world.edit(_edit("rule", args=[2], interval_seconds=30))
    world.edit(_edit_without_broker)
    world.edit(_pause_twice)
    world.edit(lambda: get("until").pause(until=at(70)))
    world.edit(_delete)
    world.edit(_update)
    world.edit(_bulk_update)
    world.edit(_create)
    world.edit(_create_paused)
    world.edit(_create_in_bulk)
    world.edit(_edit("garbage", cron_expression="* * * * *"))
    spoilt = ScheduledTask.objects.filter(name="spoilt")
    world.edit(lambda: spoilt.update(cron_expression="61 * * * *"))
    world.edit(_edit("counted", args=[2]))
    world.edit(_edit("described", description="what it is for"))
    world.edit(_edit("unplanned", args=[2]))


def _wishes(world: World) -> None:
    ended = TaskRun.objects.filter(name="travels", status=Status.SUCCEEDED).first()
    coming = TaskRun.objects.filter(name="cancelled").unstarted().order_by("slot").first()
    running = TaskRun.objects.filter(name="asked", status=Status.RUNNING).first()
    world.ask(lambda: dispatcher.run_now(get("asked"), by="somebody"))
    world.ask(lambda: dispatcher.rerun(ended))
    world.ask(lambda: get("skipped").skip_next())
    world.ask(lambda: dispatcher.cancel(coming))
    world.ask(lambda: dispatcher.cancel(running))
    world.ask(lambda: dispatcher.cancel(ended))
    world.ask(lambda: dispatcher.backfill(get("paused"), at(20), at(41)))
    world.ask(lambda: dispatcher.run_task(ACT, [1], {"name": "asked for"}, at=at(70)))


def _last_edits(world: World) -> None:
    world.edit(lambda: get("paused").resume())
    world.edit(_edit("again", run_at=at(90)))
    world.edit(_edit("created, paused", args=[2]))


def _expected() -> dict[str, Expected]:
    edited = {"version": 2, "version_since": at(20)}
    cancelled = frozenset({"succeeded", "cancelled"})
    until = slots(20, 20) + slots(20, 140, after=120)
    return {
        "travels": Expected(slots(20, 60), asked=range(2), **edited),
        "rule": Expected(slots(20, 20) + slots(30, 60, after=20), **edited),
        "sent later": Expected(slots(20, 60), **edited),
        "described": Expected(slots(40, 40)),
        "bulk": Expected(slots(40, 40), **edited),
        "updated one": Expected(slots(40, 40), **edited),
        "updated two": Expected(slots(40, 40), **edited),
        "asked": Expected(slots(40, 40), cancelled, asked=range(2)),
        "cancelled": Expected(slots(20, 60), cancelled),
        "paused": Expected(slots(20, 20) + slots(20, 80, after=60), cancelled, asked=range(3)),
        "skipped": Expected(slots(20, 80), frozenset({"succeeded", "skipped"})),
        "deleted": Expected(slots(20, 20), cancelled, state=None),
        "garbage": Expected([at(60)]),
        "spoilt": Expected([at(0)], state=State.SET_ASIDE),
        "again": Expected([at(0), at(90)]),
        "counted": Expected(slots(20, 60), **edited),
        "until": Expected(until, cancelled),
        "unplanned": Expected(slots(20, 60, start=-40), NOT_ALL, **edited),
        "created": Expected([at(35)]),
        "created in bulk": Expected([at(80)]),
        "created, paused": Expected([], state=State.PAUSED),
        ACT: Expected([], asked=range(2), state=None),
    }


SCRIPT = {20: _first_edits, 40: _wishes, 60: _last_edits}
EDITS = Part("edits", "edit", _prepare, _expected, SCRIPT)

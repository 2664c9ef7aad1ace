"""A shop's board of scheduled tasks after a day of work, in every state that a page can show.

The same in each run but for the time: runs lie on the slots of their own schedules, up to now.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dispatcher.api.models import ApiToken
from dispatcher.models import TaskRun, Tick, Worker
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.stop import Stop
from scheduling.trail import Via, acting
from tests.browser import board_runs
from tests.browser.board_runs import WORKERS

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SECOND = timedelta(seconds=1)

#: Their names, and what somebody in Shanghai would call them.
NAMES = {
    "stock": ("Stock of the warehouse", "仓库库存同步"),
    "orders": ("Import orders", "导入订单"),
    "prices": ("Prices of the suppliers", "供应商价格"),
    "carts": ("Forgotten carts", "清理购物车"),
    "report": ("Daily report", "每日报表"),
    "backup": ("Backup of the database", "数据库备份"),
    "newsletter": ("Newsletter no. 48", "第 48 期通讯"),
    "old": ("Newsletter no. 47", "第 47 期通讯"),
    "rates": ("Exchange rates", "汇率更新"),
    "ledger": ("Check of the ledger", "账目核对"),
}
ENGLISH, CHINESE = 0, 1


@dataclass(frozen=True)
class Board:
    """The rows that the pages are about."""

    tasks: dict[str, ScheduledTask]
    runs: dict[str, TaskRun]
    token: ApiToken


def fill(user: Any, language: int = ENGLISH, hours: int = 24) -> Board:
    """All of it, with the runs of so many hours."""
    now = database_now()
    tasks = _tasks(user, language, now)
    _changes(tasks, user, now, language)
    runs = board_runs.fill(tasks, user, now, hours)
    _processes(now)
    Stop.objects.create(
        paused_at=now - 30 * HOUR,
        resumed_at=now - 29 * HOUR,
        paused_by="ada",
        paused_via="admin",
        resumed_by="ada",
        in_force=None,
    )
    token = ApiToken(name="ci", user=user, scopes=["read", "write"])
    token.issue(now, by=user)
    return Board(tasks, runs, token)


# What should run ----------------------------------------------------------------------------------


def _tasks(user: Any, language: int, now: datetime) -> dict[str, ScheduledTask]:
    make = ScheduledTask.objects
    name = {key: names[language] for key, names in NAMES.items()}
    zone = ("Europe/Berlin", "Asia/Shanghai")[language]
    since = now.replace(minute=0, second=0, microsecond=0) - 40 * DAY
    goods = {"group": ("goods", "商品")[language], "owner": "ada"}
    office = {"group": ("office", "办公室")[language], "owner": "grace"}
    with acting(Via.ADMIN, user):
        return {
            "stock": make.create_interval(
                name["stock"],
                "shop.tasks.sync_stock",
                300,
                kwargs={"warehouse": "north"},
                starts_at=since + 2 * timedelta(minutes=1),
                overlap_policy="skip",
                queue="stock",
                priority=6,
                **goods,
            ),
            "orders": make.create_cron(
                name["orders"],
                "shop.tasks.import_orders",
                "7,22,37,52 * * * *",
                kwargs={"file_name": "orders.csv"},
                timezone=zone,
                max_retries=1,
                pause_after_failures=20,
                **goods,
            ),
            "prices": make.create_interval(
                name["prices"],
                "shop.tasks.update_prices",
                1200,
                starts_at=since + 11 * timedelta(minutes=1),
                timezone=zone,
                on_lost="rerun",
                jitter_seconds=30,
                **goods,
            ),
            "carts": make.create_cron(
                name["carts"], "shop.tasks.clear_carts", "41 * * * *", args=[30], **goods
            ),
            "report": make.create_cron(
                name["report"],
                "shop.tasks.send_report",
                "30 7 * * MON-FRI",
                kwargs={"recipient": "grace@shop.example", "pages": 4},
                timezone=zone,
                description=("The figures of the day before.", "前一天的数据。")[language],
                max_retries=3,
                retry_backoff=True,
                time_limit=600,
                misfire_policy="run_latest",
                **office,
            ),
            "backup": make.create_cron(
                name["backup"],
                "shop.tasks.back_up",
                "0 15 2,14 * * *",
                kwargs={"bucket": "shop-backup", "token": "a-secret-of-the-shop"},
                timezone=zone,
                overlap_policy="queue_one",
                **office,
            ),
            "newsletter": make.create_one_time(
                name["newsletter"],
                "shop.tasks.mail_readers",
                (now + 2 * DAY).replace(minute=0, second=0, microsecond=0),
                args=[48],
                timezone=zone,
                **office,
            ),
            "old": make.create_one_time(
                name["old"],
                "shop.tasks.mail_readers",
                now + DAY,
                args=[47],
                timezone=zone,
                **office,
            ),
            "rates": make.create_interval(
                name["rates"],
                "shop.tasks.update_prices",
                3600,
                kwargs={"currency": "USD"},
                starts_at=since + 18 * timedelta(minutes=1),
                **goods,
            ),
            "ledger": make.create_cron(
                name["ledger"],
                "shop.ledger.check",  # a task that is not known here
                "0 6 1 * *",
                timezone=zone,
                **office,
            ),
        }


def _changes(tasks: dict[str, ScheduledTask], user: Any, now: datetime, language: int) -> None:
    """What people and the scheduler did to them since."""
    rows = ScheduledTask.objects
    with acting(Via.ADMIN, user):
        for column, value in (("time_limit", 300), ("description", "")):
            setattr(tasks["carts"], column, value)
            tasks["carts"].save(update_fields=[column])
        tasks["backup"].kwargs |= {"token": "another-secret"}
        tasks["backup"].save(update_fields=["kwargs"])
        tasks["backup"].skip_next(by=user)
        until = (now + 5 * DAY).replace(hour=6, minute=0, second=0, microsecond=0)
        tasks["rates"].pause(
            by="ada", until=until, params={"message": ("new supplier", "更换供应商")[language]}
        )
    rows.filter(pk=tasks["old"].pk).update(enabled=False)
    ended = {"run_at": tasks["newsletter"].run_at - 7 * DAY, "next_run_at": None}
    rows.filter(pk=tasks["old"].pk).keep(
        state_reason="finished", state_reason_at=ended["run_at"], **ended
    )
    broken = rows.filter(pk=tasks["ledger"].pk)
    broken.keep(timezone="Europe/Berlin_")  # as raw SQL would
    broken.set_aside("unknown_timezone", "The time zone is not known.", now - 3 * HOUR)
    for task in tasks.values():
        task.refresh_from_db()


def _processes(now: datetime) -> None:
    """Two workers that live, one that has stopped, and the last half hour of ticks."""
    for number, name in enumerate((*WORKERS, "worker@shop-0")):
        alive = name in WORKERS
        Worker.objects.create(
            id=uuid.UUID(int=number + 1),
            hostname=name,
            pid=200 + number,
            pool="prefork",
            concurrency=4,
            queues=["celery", "stock"],
            tasks=["shop.tasks.sync_stock"],
            clock_offset=0.01,
            started_at=now - 3 * DAY,
            seen_at=now if alive else now - 2 * DAY,
            lease_until=now + HOUR if alive else None,
            stopped_at=None if alive else now - 2 * DAY,
        )
    Tick.objects.bulk_create(_pass(now, n) for n in range(60))


def _pass(now: datetime, n: int) -> Tick:
    at = now - 30 * n * SECOND - 8 * SECOND
    return Tick(
        kind="rescue" if n % 2 else "tick",
        started_at=at,
        finished_at=at + timedelta(milliseconds=38 + n % 7),
        dispatcher="shop-1",
        planned=0 if n % 2 else n % 3,
        published=0 if n % 2 else n % 3,
    )

"""Plan, publish, and both decisions about late slots: before there is a run, and after."""

from scheduling.models import State
from tests.crash.oracle import Expected
from tests.crash.parts import Part, add, add_run, at, one_time, slots, task

LATE = {"misfire_grace_seconds": 60, "interval_seconds": 40}
NOT_ALL = frozenset({"succeeded", "missed"})
CRON = {"kind": "cron", "cron_expression": "* * * * *"}


def _prepare() -> None:
    paused = {"enabled": False, "state_reason": "paused", "paused_until": at(-5)}
    long_ago = {"state_reason": "set_aside", "state_reason_at": at(-90_000)}
    add(
        task("steady", priority=9),
        task("jitter", jitter_seconds=30, end=90, **CRON),
        one_time("once", 70),
        task("counted", interval_seconds=30, max_runs=3, end=200),
        task("latest", start=-600, end=40, misfire_policy="run_latest", **LATE),
        task("all", start=-160, end=40, misfire_policy="run_all", **LATE),
        task("none", start=-600, end=40, misfire_policy="skip", **LATE),
        task("expired", start=-80, end=20, expires_seconds=30),
        task("skipped", skip_slots=[at(20).isoformat()]),
        task("garbage", kind="cron", cron_expression="61 * * * *"),
        task("no message", start=-90, end=-90, enabled=False, state_reason="finished"),
        task("mended", start=60, end=90, armed_at=at(-100), **long_ago, **CRON),
        task("planned before", next_run_at=at(0)),
        task("resumed", start=70, end=100, armed_at=at(-60), **paused),
        task("over", start=-90, end=-70, **paused),
    )
    add_run("planned before", 0, trigger="schedule", slot=at(0), publish_at=at(-1))
    add_run("no message", 0, args="no list", publish_at=at(-1))


def _expected() -> dict[str, Expected]:
    return {
        "steady": Expected(slots(20, 60)),
        "jitter": Expected(slots(60, 90)),
        "once": Expected([at(70)]),
        "counted": Expected(slots(30, 60)),
        "latest": Expected(slots(40, 40, start=-600), NOT_ALL, policy="run_latest"),
        "all": Expected(slots(40, 40, start=-160), policy="run_all"),
        "none": Expected(slots(40, 40, start=-600), NOT_ALL, policy="skip"),
        "expired": Expected(slots(20, 20, start=-80), NOT_ALL),
        "skipped": Expected(slots(20, 60), frozenset({"succeeded", "skipped"})),
        "garbage": Expected([], state=State.SET_ASIDE),
        "no message": Expected([], frozenset({"failed"}), asked=range(1, 2)),
        "mended": Expected([at(60)]),
        "planned before": Expected(slots(20, 60)),
        "resumed": Expected(slots(20, 100, start=70)),
        "over": Expected([], state=State.PAUSED),
    }


TICK = Part("the tick", "tick", _prepare, _expected, rounds=5, outages=frozenset({60}))


# The broker is away for three minutes: what was planned could not be published -----------------


def _prepare_late() -> None:
    add(
        task("latest", end=200, misfire_policy="run_latest", **LATE),
        task("all", end=200, misfire_policy="run_all", overlap_policy="skip", **LATE),
        task("none", end=200, misfire_policy="skip", **LATE),
        task("never late", end=200, interval_seconds=100),
        one_time("once, skipped", 40, misfire_policy="skip", misfire_grace_seconds=60),
        one_time("once", 40, misfire_grace_seconds=60),
    )


def _expected_late() -> dict[str, Expected]:
    return {
        "latest": Expected(slots(40, 200), NOT_ALL, policy="run_latest"),
        "all": Expected(slots(40, 200), policy="run_all"),
        "none": Expected(slots(40, 200), NOT_ALL, policy="skip"),
        "never late": Expected(slots(100, 200)),
        "once, skipped": Expected([at(40)], frozenset({"missed"}), policy="skip"),
        "once": Expected([at(40)]),
    }


LATE_TICK = Part(
    "the tick after an outage",
    "tick",
    _prepare_late,
    _expected_late,
    rounds=10,
    outages=frozenset(range(0, 180, 20)),
)

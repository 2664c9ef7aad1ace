"""A process dies at a line, at any line, and nothing is lost, doubled or left hanging.

Each of four scenarios is run with the process of each action killed at each line that it passes
(SIGKILL: no clean-up, no rollback of ours), and on until everything is quiet. Then the rows are
compared with the slots that there must be. To see one line alone:

    CRASH_AT=dispatcher/plan/planner.py:119 pytest tests/crash -s -m slow

CRASH_EVERY=8 tries one in eight, others each day.
"""

import logging
import os
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery.app import app_or_default
from django.db import connection

from tests.crash import broker, state, tasks
from tests.crash.clock import Clock
from tests.crash.laboratory import Laboratory
from tests.crash.lines import COUNTED, ROOT, Line, executable
from tests.crash.oracle import verdict
from tests.crash.parts import NOON, Part
from tests.crash.scenario_edits import EDITS
from tests.crash.scenario_rescue import RESCUE
from tests.crash.scenario_tick import LATE_TICK, TICK
from tests.crash.scenario_worker import WORKER
from tests.crash.world import World

pytestmark = pytest.mark.django_db(transaction=True)

PARTS = (TICK, LATE_TICK, WORKER, RESCUE, EDITS)

#: The fast suite takes each n-th place to die at.
SOME = 160
#: Of the lines inside the functions, so many are tried at least. The others answer to what does not
#: happen here (a wrong clock, two planners at once, routes that raise, a full disk) or belong to
#: another database or broker.
LEAST = 0.83

#: By scenario, where it has been run already; and, by kind of action, those that were all tried.
learnt: dict[str, set[Line]] = {}
tried: dict[str, set[Line]] = defaultdict(set)


@pytest.fixture(autouse=True)
def prepared(transactional_db: None, tmp_path: Path) -> Iterator[None]:
    app_or_default().finalize()  # or it would be one of the first action's
    conf = app_or_default().conf
    options = conf.broker_transport_options
    if broker.URL.startswith("amqp"):
        # A message that was sent can be read at once, on another connection too.
        conf.broker_transport_options = {**(options or {}), "confirm_publish": True}
    tasks.record = tmp_path / "calls"
    tasks.record.touch()
    logging.disable()  # a hundred thousand lines, nearly all of crashes that went well
    broker.disconnect()
    state.make_copies()
    yield
    connection.close()  # it may have been interrupted
    state.drop_copies()
    broker.drain()
    broker.disconnect()
    logging.disable(logging.NOTSET)
    conf.broker_transport_options = options


def crash(part: Part, laboratory: Laboratory) -> None:
    """Live the scenario, with every crash that the laboratory wants."""
    start = time.monotonic()
    try:
        with Clock(NOON) as clock:
            state.clear()
            world = World(clock, part.kind, laboratory)
            part.prepare()
            part.live(world)
            faults = verdict(world, part.expected())
    except BaseException:
        if laboratory.pipe is None:
            raise
        faults = [traceback.format_exc()]  # a fork must not get out of here
    laboratory.conclude(faults)
    learnt[part.name] = laboratory.learnt
    _tell(part, laboratory, time.monotonic() - start)


def _tell(part: Part, done: Laboratory, seconds: float) -> None:
    print(
        f"{connection.vendor}, {part.name}: {len(done.learnt)} lines, {done.crashes} crashes, "
        f"{done.recoveries} different states, {seconds:.0f} s"
    )
    found = "\n".join(done.failures[:30])
    assert not done.failures, f"{len(done.failures)} crashes did not end well:\n{found}"


@pytest.mark.sampled(3)
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_crash_at_some_of_the_lines_loses_and_doubles_nothing(part):
    laboratory = Laboratory(every=SOME)
    crash(part, laboratory)
    assert laboratory.crashes > 1


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_crash_at_any_line_loses_and_doubles_nothing(part):
    every = int(os.environ.get("CRASH_EVERY", "1"))
    laboratory = Laboratory(every, os.environ.get("CRASH_AT", ""), known=tried[part.kind])
    crash(part, laboratory)
    tried[part.kind] |= laboratory.learnt


@pytest.mark.sampled(2)
def test_the_scenarios_pass_nearly_every_line():
    for part in PARTS:
        if part.name not in learnt:
            crash(part, Laboratory(only="no place: the lines are only learnt"))
    all_lines = {(file, line) for file in COUNTED for line in executable(file)}
    left = sorted(all_lines.difference(*learnt.values()))
    print(f"{len(left)} of {len(all_lines)} lines are not passed:")
    for file in sorted(COUNTED):
        lines = [str(line) for name, line in left if name == file]
        print(f"  {file.removeprefix(f'{ROOT}/')}: {' '.join(lines) or 'none'}")
    assert len(left) <= (1 - LEAST) * len(all_lines)

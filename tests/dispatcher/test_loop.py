"""`tick --loop`: a tick for every minute, however long a rescue pass takes and whatever fails."""

from types import SimpleNamespace

import pytest
from django.core.management import call_command

from dispatcher.management.commands import tick as command


class Over(BaseException):
    """Enough of the loop was seen."""


@pytest.fixture
def world(monkeypatch):
    """A clock that only sleeping and working move; a mock, because hours are tried."""
    world = SimpleNamespace(now=1_000_000_020.0, until=0.0, ticked=[], rescues=0, takes=1.0)

    def sleep(seconds):
        world.now += seconds
        if world.now >= world.until:
            raise Over

    def tick():
        world.ticked.append(int(world.now // 60))
        return SimpleNamespace(planned=0, published=0, missed=0, set_aside=0, error="")

    def rescue():
        world.rescues += 1
        world.now += world.takes

    monkeypatch.setattr(command, "time", SimpleNamespace(time=lambda: world.now, sleep=sleep))
    monkeypatch.setattr(command, "tick", tick)
    monkeypatch.setattr(command, "rescue_pass", rescue)
    monkeypatch.setattr(command.connections, "replace_dead", lambda: None)
    return world


def loop(world, seconds=3600):
    world.until = world.now + seconds
    with pytest.raises(Over):
        call_command("tick", "--loop")


@pytest.mark.parametrize("takes", [0, 1, 19, 20, 21, 38, 39, 40, 42, 57, 59])
def test_every_minute_has_its_tick(world, takes):
    world.takes = takes
    first = int(world.now // 60)
    loop(world)
    assert world.ticked == list(range(first, world.ticked[-1] + 1))
    assert len(world.ticked) >= 59
    assert world.rescues >= 59


def test_a_pass_of_minutes_is_followed_by_a_tick(world):
    world.takes = 200
    loop(world)
    assert len(world.ticked) >= 15


@pytest.mark.parametrize("step", ["tick", "rescue_pass"])
def test_whatever_fails_does_not_end_the_loop(world, monkeypatch, capsys, step):
    calls = []

    def fail():
        calls.append(step)
        if len(calls) > 1:
            raise RuntimeError("something new")
        return SimpleNamespace(planned=0, published=0, missed=0, set_aside=0, error="")

    monkeypatch.setattr(command, step, fail)
    loop(world, 600)
    assert len(calls) >= 9
    assert "RuntimeError: something new" in capsys.readouterr().err

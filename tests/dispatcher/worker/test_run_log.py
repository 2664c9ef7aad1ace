"""Which lines are kept, how many, and that logging is otherwise as it was."""

import logging
import threading

import pytest

from dispatcher.worker import run_log
from scheduling.registry import masking
from scheduling.registry.masking import MASK

logger = logging.getLogger("shop.orders")


@pytest.fixture(autouse=True)
def _as_before():
    """Loggers of the test, and no capture left behind."""
    yield
    run_log.take()
    for name in (None, "shop", "shop.orders", "island"):
        found = logging.getLogger(name)
        found.removeHandler(run_log.HANDLER)
        if name:
            found.handlers, found.propagate = [], True
            found.setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def _levels(caplog):
    caplog.set_level(logging.INFO)


def lines(text):
    return [line.partition("Z ")[2] for line in text.splitlines()]


def test_lines_are_kept_from_begin_to_take():
    logger.info("before")
    run_log.begin([], {})
    logger.info("one %d", 1)
    logger.debug("below the level")
    logging.getLogger("other").warning("two")
    assert lines(run_log.take()) == ["INFO shop.orders: one 1", "WARNING other: two"]
    logger.info("after")
    assert run_log.take() == ""


def test_a_traceback_is_kept_whole():
    run_log.begin([], {})
    try:
        raise ValueError("no")
    except ValueError:
        logger.exception("it failed")
    text = run_log.take()
    assert "ERROR shop.orders: it failed\nTraceback" in text
    assert text.endswith("ValueError: no\n")


def test_each_thread_has_its_own_run():
    found = {}
    barrier = threading.Barrier(2)

    def run(name):
        run_log.begin([], {})
        barrier.wait()
        logger.info(name)
        barrier.wait()
        found[name] = lines(run_log.take())

    threads = [threading.Thread(target=run, args=[name]) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {name: [f"INFO shop.orders: {name}"] for name in ("a", "b")}


def test_a_logger_that_does_not_propagate_is_heard_once():
    island = logging.getLogger("island")
    island.addHandler(logging.NullHandler())
    island.propagate = False
    run_log.begin([], {})
    island.warning("hidden")
    island.propagate = True  # from now on by two ways
    island.warning("seen")
    assert lines(run_log.take()) == ["WARNING island: hidden", "WARNING island: seen"]


def test_only_the_newest_lines_are_kept_and_the_number_of_the_others(settings):
    settings.SCHEDULER_RUN_LOG_KIB = 1
    run_log.begin([], {})
    for n in range(100):
        logger.info("%03d%s", n, "x" * 100)
    text = run_log.take()
    assert len(text.encode()) <= 1024 + 50
    head, *kept = text.splitlines()
    assert head == run_log.CUT % (100 - len(kept))
    assert [line.partition(": ")[2][:3] for line in kept] == [
        f"{n:03d}" for n in range(100 - len(kept), 100)
    ]


def test_a_line_that_is_too_long_is_cut_and_whole_characters_are_left(settings):
    settings.SCHEDULER_RUN_LOG_KIB = 1
    run_log.begin([], {})
    logger.info("周" * 5000)
    text = run_log.take()
    assert 400 < len(text.encode()) <= 1024
    assert text.endswith("周…\n")


def test_with_a_limit_of_none_nothing_is_kept(settings):
    settings.SCHEDULER_RUN_LOG_KIB = 0
    run_log.begin([], {})
    logger.info("one")
    assert run_log.take() == ""
    assert run_log.HANDLER not in logging.root.handlers


def test_what_no_database_takes_is_replaced():
    run_log.begin([], {})
    logger.info("nul \x00 and half a surrogate \ud800")
    assert lines(run_log.take()) == ["INFO shop.orders: nul � and half a surrogate ?"]


def test_a_line_that_cannot_be_formatted_is_kept_as_it_is(monkeypatch):
    run_log.begin([], {})
    for handler in logging.root.handlers:  # pytest's would raise
        if handler is not run_log.HANDLER:
            monkeypatch.setattr(handler, "emit", lambda record: None)
    logger.info("%d of %d", 1)
    assert run_log.take() == "INFO shop.orders: '%d of %d'\n"


# Secrets ------------------------------------------------------------------------------------------


def test_the_secrets_of_the_arguments_are_masked():
    kwargs = {"password": 'hun"ter\n2', "auth": {"token": 123456}, "secrets": {"a": ["deep-one"]}}
    run_log.begin([{"api_key": "k-123"}], {**kwargs, "region": "europe"})
    logger.info("%s %r %s", kwargs["password"], kwargs, "k-123 in europe")
    text = run_log.take()
    for secret in ("hun", "123456", "k-123", "deep-one"):
        assert secret not in text
    assert text.count(MASK) >= 4
    assert "europe" in text


def test_short_and_empty_secrets_hide_no_other_words():
    assert masking.secrets_of({"password": "abc", "token": "", "secret": None, "pwd": True}) == (
        frozenset()
    )


# Logging as it was --------------------------------------------------------------------------------


def test_what_goes_to_the_last_resort_still_does(monkeypatch):
    kept = []
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.lastResort, "emit", kept.append)
    run_log.begin([], {})
    logger.warning("seen")
    logger.info("below the level of the last resort")
    logging.getLogger("shop").addHandler(logging.NullHandler())
    logger.warning("not seen: there is a handler")
    assert [record.msg for record in kept] == ["seen"]
    assert len(lines(run_log.take())) == 3


def test_the_records_of_others_are_left_as_they_are(caplog):
    run_log.begin([], {})
    try:
        raise ValueError("no")
    except ValueError:
        logger.exception("it failed")
    assert run_log.take()
    record = caplog.records[-1]
    record.exc_text = None  # pytest's own handler may have formatted it
    run_log.begin([], {})
    run_log.HANDLER.handle(record)
    assert record.exc_text is None

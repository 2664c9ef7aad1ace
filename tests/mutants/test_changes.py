"""The small changes that mutation testing makes: the kinds that careless edits are of."""

from pathlib import Path

import pytest

from tests.mutants.changes import changes, compiles
from tests.mutants.concerned import MODULES, first, rest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("source", "mutant"),
    [
        ("def f(a, b):\n    return a < b", "def f(a, b):\n    return a <= b"),
        ("def f(a, b):\n    return a and b", "def f(a, b):\n    return a or b"),
        ("def f(a):\n    return not a", "def f(a):\n    return (a)"),
        ("X = 90", "X = 91"),
        ("def f(a):\n    if a:\n        g()", "def f(a):\n    if (not (a)):\n        g()"),
        ("def f(a):\n    g(a)", "def f(a):\n    pass"),
        ("def f():\n    return rows.filter(a=1).first()", "def f():\n    return rows.first()"),
        ("x = rows.filter(a=1, b=2)", "x = rows.filter(a=1, )"),
        ("x = rows.update(a=1, **kept)", "x = rows.update(a=1, )"),
        ("x = y.get(status__in=(A, B))", "x = y.get(status__in=(A, ))"),
        ("x = locked(rows, skip=True)", "x = rows"),
        ("on_commit(partial(f, 1), robust=True)", "(partial(f, 1))()"),
        ("@retry_contention\ndef f():\n    g()", "\ndef f():\n    g()"),
        ("def f():\n    with atomic():\n        g()", "def f():\n    if True:\n        g()"),
        ("try:\n    f()\nexcept A:\n    g()", "try:\n    f()\nexcept A:\n    raise; g()"),
        ("x = Q(a=1) | Q(b=2)", "x = Q(a=1) & Q(b=2)"),
        ("x = min(a, b)", "x = max(a, b)"),
    ],
)
def test_it_makes_the_careless_change(source, mutant):
    assert mutant in [change.apply(source) for change in changes(source)]


def test_of_every_module_there_are_mutants_that_differ_and_nearly_all_are_programs():
    for module in MODULES:
        source = (ROOT / module).read_text()
        some = changes(source)[::20]
        assert some, module
        assert all(change.apply(source) != source for change in some)
        broken = [change for change in some if not compiles(change.apply(source))]
        assert len(broken) <= max(1, 0.1 * len(some)), module


def test_what_is_only_said_is_not_changed():
    source = 'logger.info("%d slots", 1, extra={"action": "tick"})\nraise BrokerAway("away", 3)'
    assert [change.text for change in changes(source)] == ["pass"]  # not to raise at all


def test_every_mutated_module_is_there_and_has_tests_that_concern_it():
    for module in MODULES:
        assert (ROOT / module).is_file(), module
        assert first(module, ROOT), module
        assert not set(first(module, ROOT)) & set(rest(module, ROOT))

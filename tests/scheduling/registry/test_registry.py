"""Which Celery tasks can be scheduled, what they take, and where they go."""

import functools
import inspect
from typing import Any

import pytest
from celery import Task, current_app

from scheduling import registry
from scheduling.registry.argument_text import completed, json_error, json_line

TASKS = "tests.integration.tasks_app.tasks"
ADD = f"{TASKS}.add"


@pytest.fixture
def register():
    """Registers a function as a task of this test."""
    names = []

    def make(function, **options):
        task = current_app.task(name=f"shop.{function.__name__}", **options)(function)
        names.append(task.name)
        return task.name

    yield make
    for name in names:
        current_app.tasks.pop(name, None)


def test_built_in_tasks_and_our_own_are_not_for_scheduling():
    names = registry.task_names()
    assert ADD in names
    assert names == sorted(names)
    assert not [name for name in names if name.startswith(("celery.", "dispatcher."))]
    for name in ("celery.backend_cleanup", "dispatcher.tick"):
        assert name in current_app.tasks
        assert registry.is_refused(name)
        assert not registry.is_known(name)
        assert registry.signature_of(name) is None
        assert registry.describe(name) is None


def test_a_name_that_only_resembles_ours_is_allowed():
    assert not registry.is_refused("celery_jobs.clean")
    assert not registry.is_refused("dispatchers.tick")
    assert not registry.is_refused("shop.celery.clean")


def test_a_task_is_told_by_its_name_signature_and_docstring():
    info = registry.describe(ADD)
    assert (info.name, info.signature) == (ADD, "(a: int, b: int) -> int")
    assert info.doc == "Adds two numbers."
    assert info in registry.all_tasks()
    assert [task.name for task in registry.all_tasks()] == registry.task_names()


def test_a_bound_task_takes_no_self():
    assert [*registry.signature_of(f"{TASKS}.work").parameters] == ["seconds"]


def test_a_wrong_name_is_told_its_likeliest_ones():
    assert registry.close_matches(f"{TASKS}.ad")[0] == ADD
    assert 0 < len(registry.close_matches(f"{TASKS}.a")) <= 3
    assert registry.close_matches("zzz") == []


def two(a, b=2, /, *, key, other=None):
    """Takes one or two by position, and a key."""


@pytest.mark.parametrize(
    ("args", "kwargs", "told"),
    [
        ([1], {"key": 1}, None),
        ([1, 2], {"key": 1, "other": 2}, None),
        ([], {"key": 1}, "missing a required argument: 'a'"),
        ([1], {}, "missing a required argument: 'key'"),
        ([1, 2, 3], {"key": 1}, "too many positional arguments"),
        ([1], {"key": 1, "no": 1}, "got an unexpected keyword argument 'no'"),
    ],
)
def test_arguments_that_do_not_fit_are_told_with_the_signature(register, args, kwargs, told):
    name = register(two)
    error = registry.binding_error(name, args, kwargs)
    signature = f"{name}(a, b=2, /, *, key, other=None)"
    # of a parameter by key Python says `keyword-only argument` since 3.12
    error = error and error.replace("keyword-only ", "")
    assert error == (told and f"{told}; the signature is {signature}")


def takes_the_task_away(function):
    @functools.wraps(function)
    def wrapper(self, *args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def gives_a_connection(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, connection="it", **kwargs)

    return wrapper


def of_region(function):
    @functools.wraps(function)
    def wrapper(region, **kwargs):
        return function(region.upper(), 1, **kwargs)

    return wrapper


def fails_often(order):
    """Is tried again by Celery."""


@pytest.mark.parametrize(
    ("function", "options", "args", "kwargs", "shown"),
    [
        (takes_the_task_away(lambda order: None), {"bind": True}, [1], {}, "(order)"),
        (takes_the_task_away(lambda order: None), {"bind": True}, [], {"order": 1}, "(order)"),
        (gives_a_connection(lambda order, *, connection: None), {}, [1], {}, None),
        (gives_a_connection(lambda self, order, *, connection: 0), {"bind": True}, [1], {}, None),
        (of_region(lambda region, number: None), {}, ["eu"], {"more": 1}, "(region, **kwargs)"),
        (fails_often, {"typing": False}, [1, 2], {}, "(order)"),
        (fails_often, {"autoretry_for": (OSError,)}, [1], {}, "(order)"),
    ],
)
def test_arguments_that_celery_accepts_fit(register, function, options, args, kwargs, shown):
    function.__name__ = "decorated"
    name = register(function, **options)
    task = current_app.tasks[name]
    if task.typing:
        task.__header__(*args, **kwargs)  # raises what Celery says of them at the call
    assert registry.binding_error(name, args, kwargs) is None
    assert shown in (None, str(registry.signature_of(name)))


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (fails_often, {"autoretry_for": (OSError,)}),
        (of_region(lambda region, number: None), {}),
    ],
)
def test_arguments_that_celery_refuses_do_not_fit(register, function, options):
    function.__name__ = "decorated"
    name = register(function, **options)
    with pytest.raises(TypeError):
        current_app.tasks[name].__header__(1, 2, 3)
    assert registry.binding_error(name, [1, 2, 3], {}).startswith("too many positional arguments")


class Lenient(Task):
    """A base class whose `__call__` takes more than `run`."""

    name = "shop.lenient"

    def __call__(self, *args, tenant, **kwargs):
        return self.run(*args, **kwargs)

    def run(self, order):
        return order


def test_a_class_that_is_called_by_its_own_call_is_asked_nothing():
    current_app.register_task(Lenient())
    try:
        assert registry.binding_error("shop.lenient", [1], {"tenant": "a"}) is None
    finally:
        current_app.tasks.pop("shop.lenient")


def test_arguments_of_a_task_that_is_not_known_here_fit():
    assert registry.binding_error("elsewhere.task", [1, 2, 3], {"x": 1}) is None


def test_the_queue_is_that_of_the_routes_or_the_default(monkeypatch):
    assert registry.queue_for(ADD) == current_app.conf.task_default_queue
    route = {"shop.*": {"queue": "shop"}}
    monkeypatch.setitem(current_app.conf, "task_routes", route)
    current_app.amqp.flush_routes()
    current_app.amqp.router = current_app.amqp.Router()
    try:
        assert registry.queue_for("shop.task") == "shop"
        assert registry.queue_for("office.task") == current_app.conf.task_default_queue
    finally:
        monkeypatch.undo()
        current_app.amqp.flush_routes()
        current_app.amqp.router = current_app.amqp.Router()


# A template of the arguments ---------------------------------------------------------------------


def typed(
    s: str, i: int, f: float, b: bool, li: list, t: tuple, d: dict, lis: list[int],
    text: "dict[str, int]", dotted: "typing.Dict[str, int]", x, o: object,  # noqa: F821
):  # fmt: skip
    pass


def test_a_parameter_begins_with_a_blank_of_its_type(register):
    assert completed(register(typed), [], {}) == (
        [],
        {
            "s": "", "i": 0, "f": 0.0, "b": False, "li": [], "t": [], "d": {}, "lis": [],
            "text": {}, "dotted": {}, "x": None, "o": None,
        },
    )  # fmt: skip
    [blanks] = [completed("shop.typed", [], {})[1]]
    assert blanks["b"] is False
    assert isinstance(blanks["f"], float)


def defaults(a=5, b=(1, 2), c=None, d={"x": [1]}, e=object(), f=float("nan")):  # noqa: B006, B008
    pass


def test_a_default_is_given_as_json_and_none_where_it_is_none(register):
    assert completed(register(defaults), [], {}) == (
        [],
        {"a": 5, "b": [1, 2], "c": None, "d": {"x": [1]}, "e": None, "f": None},
    )


def mixed(first, second=2, /, third=3, *args: Any, key: str = "k", **kwargs: Any):
    pass


def test_positions_are_completed_by_position_and_names_by_name(register):
    name = register(mixed)
    assert completed(name, [], {}) == ([None, 2], {"third": 3, "key": "k"})
    assert completed(name, ["a"], {"key": 1}) == (["a", 2], {"key": 1, "third": 3})
    assert completed(name, ["a", "b", "c", "d", "e"], {}) == (
        ["a", "b", "c", "d", "e"],
        {"key": "k"},
    )


def test_what_is_completed_is_a_copy():
    args, kwargs = [7], {}
    completed(ADD, args, kwargs)
    assert (args, kwargs) == ([7], {})


# JSON as people see it ---------------------------------------------------------------------------


def test_json_of_sixty_characters_is_one_line_and_of_one_more_several():
    line = json_line(["x" * 56])
    assert (len(line), line.count("\n")) == (60, 0)
    assert json_line(["x" * 57]) == '[\n  "' + "x" * 57 + '"\n]'


def test_json_is_shown_in_its_own_characters():
    assert json_line("上") == '"上"'
    assert "上" * 60 in json_line(["上" * 60])


def test_the_place_of_an_error_shows_the_twenty_characters_after_it():
    told = json_error('{"a": ' + "b" * 30 + "}")
    assert "line 1, column 7" in told
    assert f"“{'b' * 20}”" in told
    assert "“tru}”" in json_error('{"a": tru}\n{"b": 1}')


def test_signatures_are_those_of_inspect():
    assert registry.signature_of(ADD) == inspect.signature(current_app.tasks[ADD].run)

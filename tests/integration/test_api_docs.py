"""docs/api.md, from top to bottom: what it prints is typed in here, what it shows is compared."""

import ast
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from threading import Timer
from typing import Any, NamedTuple

import pytest
from django.contrib.auth import get_user_model
from rest_framework import exceptions

from dispatcher.api.kernel import idempotency, problems
from tests.integration.harness import ROOT, Stack
from tests.servers import free_port

PAGE = (ROOT / "docs" / "api.md").read_text()
HOST = "http://127.0.0.1:8000"  # of the page
PATIENCE = 50  # seconds for all of it
MARK = "--- end of the block ---"


class Example(NamedTuple):
    language: str
    code: str
    shown: str | None  # what the page says that it prints
    is_json: bool


RUN, ANSWERS = ("sh", "python"), ("json", "text")


def examples(page: str) -> Iterator[Example]:
    """The blocks that are run, in order. Each block of an answer has to follow one of them."""
    found = list(re.finditer(r"^```(\w+)\n(.*?)^```\n", page, re.DOTALL | re.MULTILINE))
    answered = 0
    for block, after in zip(found, [*found[1:], None], strict=True):
        if block[1] not in RUN:
            continue
        if after and after[1] in ANSWERS and not page[block.end() : after.start()].strip():
            yield Example(block[1], block[2], after[2], after[1] == "json")
            answered += 1
        else:
            yield Example(block[1], block[2], None, False)
    assert answered == sum(block[1] in ANSWERS for block in found), "nothing prints one of them"


def is_shown(shown: Any, found: Any) -> bool:
    """Whether the answer has all that is shown of it; `…` stands for anything."""
    if shown == "…":
        return True
    if isinstance(shown, dict) and isinstance(found, dict):
        return all(name in found and is_shown(shown[name], found[name]) for name in shown)
    if isinstance(shown, list) and isinstance(found, list):
        return len(shown) == len(found) and all(map(is_shown, shown, found))
    return type(shown) is type(found) and bool(shown == found)


def check(example: Example, printed: str) -> None:
    told = f"{example.code}\nprinted\n\n{printed}\n\nand the page shows\n\n{example.shown}"
    if example.shown is None:
        assert printed == "", told
    elif example.is_json:
        assert printed.startswith("{"), told
        assert is_shown(json.loads(example.shown), json.loads(printed)), told
    else:
        pattern = ".*".join(map(re.escape, example.shown.strip().split("…")))
        assert re.fullmatch(pattern, printed), told


class Shell:
    """One bash for all blocks, which ends where a command fails."""

    def __init__(self, env: dict[str, str]) -> None:
        self.bash = subprocess.Popen(
            ["bash", "-e"],
            cwd=ROOT,
            env=env,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.timer = Timer(PATIENCE, self.bash.kill)
        self.timer.start()

    def run(self, code: str) -> str:
        assert self.bash.stdin and self.bash.stdout
        self.bash.stdin.write(f"{code}\nprintf '\\n{MARK}\\n'\n")
        self.bash.stdin.flush()
        lines: list[str] = []
        for line in self.bash.stdout:
            if line == f"{MARK}\n":
                return "".join(lines).strip()
            lines.append(line)
        raise AssertionError(f"{code}\nfailed, or took too long, after\n\n{''.join(lines)}")

    def close(self) -> None:
        self.timer.cancel()
        self.bash.kill()
        self.bash.communicate()


@pytest.fixture
def shell(stack: Stack) -> Iterator[Shell]:
    path = f"{Path(sys.executable).parent}:{stack.environment['PATH']}"
    shell = Shell(stack.environment | {"PATH": path})
    yield shell
    shell.close()


def test_the_examples_answer_what_the_page_shows(
    stack: Stack, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl: install the package curl, or run `make tools`")
    get_user_model().objects.create_superuser("admin")
    port = free_port()
    demo = {"EXTRA_APPS": "project.demo", "HOST": "127.0.0.1", "PORT": str(port)}
    stack.start("web", env=demo)
    stack.start("worker", env=demo)
    done = {"sh": 0, "python": 0}
    names: dict[str, Any] = {}

    for example in examples(PAGE.replace(HOST, f"http://127.0.0.1:{port}")):
        if example.language == "sh":
            check(example, shell.run(example.code))
            for name in ("API", "TOKEN"):
                monkeypatch.setenv(name, shell.run(f'printf %s "${name}"'))
        else:
            with redirect_stdout(io.StringIO()) as printed:
                exec(compile(example.code, "docs/api.md", "exec"), names)
            check(example, printed.getvalue().strip())
        done[example.language] += 1

    names["http"].close()
    assert min(done.values()) > 8, done


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ('{"id": 2}', '{"id": 1}'),
        ('{"name": "…"}', '{"id": 1}'),
        ('{"results": [{}]}', '{"results": [{}, {}]}'),
        ('{"count": 1}', '{"count": true}'),
    ],
)
def test_another_answer_is_noticed(shown: str, printed: str) -> None:
    with pytest.raises(AssertionError):
        check(Example("sh", "", shown, True), printed)


def test_a_command_that_fails_is_noticed(shell: Shell) -> None:
    assert shell.run("echo one") == "one"
    with pytest.raises(AssertionError, match="failed"):
        shell.run("false\necho two")


# The table of codes -------------------------------------------------------------------------------

ERRORS = ("AuthenticationFailed", "Conflict", "PermissionDenied", "Unavailable")


def raised() -> Iterator[str]:
    """The codes that the code of the API gives to errors, and those of their classes."""
    for path in ROOT.glob("dispatcher/api/**/*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ERRORS:
                yield from (a.value for a in call.args[1:] if isinstance(a, ast.Constant))
    for module in (problems, idempotency):
        for made in vars(module).values():
            own = isinstance(made, type) and made.__module__ == module.__name__
            if own and issubclass(made, exceptions.APIException):
                yield made.default_code
    for known in (
        exceptions.ParseError,
        exceptions.NotAuthenticated,
        exceptions.NotFound,
        exceptions.MethodNotAllowed,
        exceptions.NotAcceptable,
        exceptions.UnsupportedMediaType,
        exceptions.Throttled,
    ):
        yield known.default_code
    yield "validation_error"


def test_the_table_has_every_code() -> None:
    cells = re.findall(r"^\| [\d, ]+ \| (`[a-z_`, ]+`) \|", PAGE, re.MULTILINE)
    listed = re.findall("[a-z_]+", " ".join(cells))

    assert sorted(listed) == sorted({*raised()} - {"conflict"})

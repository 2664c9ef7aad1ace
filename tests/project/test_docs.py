"""The documentation says what the code does: its examples are run, its lists compared."""

import doctest
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core.management import get_commands

from dispatcher import run_finished
from dispatcher.conf import SETTINGS
from dispatcher.models import Status, TaskRun
from dispatcher.reasons import SENTENCES
from project.celery import app
from scheduling.models import ScheduledTask

ROOT = Path(__file__).resolve().parents[2]
PAGES = {page.name: page.read_text() for page in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)


def rows(page: str) -> list[list[str]]:
    """The rows of the page's tables, as lists of cells."""
    lines = [line for line in PAGES[page].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_file_that_the_pages_name_is_there() -> None:
    named = {
        (page, path)
        for page, text in PAGES.items()
        for path in re.findall(r"`((?:scheduling|dispatcher|tests|benchmarks)/[\w/]+\.\w+)", text)
    }
    assert len(named) > 10
    assert not {(page, path) for page, path in named if not (ROOT / path).exists()}


# Examples -----------------------------------------------------------------------------------------


def test_the_examples_of_schedules_give_what_the_page_prints() -> None:
    text = "\n".join(blocks("schedules.md", "python"))
    examples = doctest.DocTestParser().get_doctest(text, {}, "schedules.md", "schedules.md", 0)
    assert len(examples.examples) > 20

    result = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF).run(examples)

    assert result.failed == 0


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The module `shop.tasks` that the examples import."""

    @app.task(name="shop.tasks.send_report")
    def send_report(name: str, pages: int = 1) -> str:
        return f"{pages} pages for {name}"

    module: Any = ModuleType("shop.tasks")
    module.send_report = send_report
    monkeypatch.setitem(sys.modules, "shop", ModuleType("shop"))
    monkeypatch.setitem(sys.modules, "shop.tasks", module)
    yield
    app.tasks.pop("shop.tasks.send_report")


@pytest.mark.django_db
def test_the_examples_of_the_readme_run(shop: None) -> None:
    names: dict[str, Any] = {}
    for block in blocks("README.md", "python"):
        exec(block, names)

    assert sorted(ScheduledTask.objects.values_list("kind", flat=True)) == [
        "cron",
        "interval",
        "one_time",
    ]
    assert names["run"].kwargs == {"name": "Eve"}
    assert TaskRun.objects.get(pk=names["later"].pk).status == Status.CANCELLED
    assert TaskRun.objects.filter(rerun_of=names["later"]).count() == 1
    assert TaskRun.objects.filter(trigger="backfill").count() == 5  # Monday to Friday


@pytest.mark.django_db
def test_the_change_in_lifecycle_is_noted_as_it_says() -> None:
    ScheduledTask.objects.create_interval("orders", "orders.fetch", 3600, group="import")
    exec(blocks("lifecycle.md", "python")[0], {"ScheduledTask": ScheduledTask})
    entry = ScheduledTask.history.first()
    assert (entry.queue, entry.via, entry.by) == ("slow", "command", "nightly import")


def test_the_receiver_in_lifecycle_takes_what_the_signal_sends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names: dict[str, Any] = {}
    exec(blocks("lifecycle.md", "python")[1], names)
    try:
        run = TaskRun(name="Daily report", status=Status.FAILED, reason="exception")
        run_finished.send(sender=TaskRun, run=run)
    finally:
        run_finished.disconnect(names["tell"])

    assert capsys.readouterr().out == "Daily report failed exception\n"


# Lists --------------------------------------------------------------------------------------------


def test_lifecycle_lists_every_reason() -> None:
    listed = [row[2].strip("`") for row in rows("lifecycle.md") if len(row) == 3 and row[2]]
    assert sorted(set(listed) & set(SENTENCES)) == sorted(SENTENCES)
    assert set(listed) - set(SENTENCES) - {"reason", "---"} == set()


def test_deployment_lists_every_setting_with_its_default() -> None:
    table = [row for row in rows("deployment.md") if re.fullmatch(r"`[A-Z_`, ]+`", row[0])]
    listed = {name: row[1].strip("`") for row in table for name in re.findall("[A-Z_]+", row[0])}
    example = (ROOT / ".env.example").read_text()

    assert sorted(listed) == sorted(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))
    assert {s.name: str(s.default) for s in SETTINGS}.items() <= listed.items()


def test_the_units_in_deployment_run_what_the_procfile_runs() -> None:
    units = re.findall(r"^ExecStart=/opt/minutehand/.venv/bin/(.+)$", PAGES["deployment.md"], re.M)
    procfile = (ROOT / "Procfile").read_text().replace("${HOST:-127.0.0.1}:${PORT:-8000}", "%s")
    lines = [line.split(": ", 1)[1] for line in procfile.splitlines()]

    assert sorted(unit.replace("%%h", "%h") for unit in units) == sorted(
        line.replace("%s", "127.0.0.1:8000") for line in lines
    )


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_and_pages_that_it_names_exist(page: str) -> None:
    text = PAGES[page]
    commands = set(re.findall(r"manage\.py ([a-z_]+)", text))
    targets = set(re.findall(r"make ([a-z]+) *[`#]", text)) | set(re.findall(r"`make (\w+)`", text))
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    makefile = (ROOT / "Makefile").read_text()

    assert commands <= set(get_commands())
    assert [t for t in targets if not re.search(rf"^{t}:", makefile, re.MULTILINE)] == []
    folder = ROOT if page == "README.md" else ROOT / "docs"
    assert [link for link in links if not (folder / link).exists()] == []


# The README in Chinese ----------------------------------------------------------------------------


def shape(page: str) -> dict[str, Any]:
    """What two languages of one page have in common: its parts, and where its links lead."""
    text = PAGES[page]
    folder = ROOT if page == "README.md" else ROOT / "docs"
    found = re.findall(r"\]\(([^)#:]+)\)", text)
    links = {str((folder / link.replace("/zh-hans/", "/")).resolve()) for link in found}
    return {
        "headings": re.findall(r"^(#+) ", text, re.MULTILINE),
        "rows": [len(row) for row in rows(page)],
        "items": re.findall(r"^(-|\d+\.) ", text, re.MULTILINE),
        "code": [re.sub(r"  # .*", "", code) for code in blocks(page, "python")],
        "commands": re.findall(r"^make \w+", "".join(blocks(page, "sh")), re.MULTILINE),
        "words": {*re.findall(r"`([a-z_.]+)`", text)} - {"lost"},
        "links": links - {str(ROOT / "README.md"), str(ROOT / "docs/README.zh-CN.md")},
    }


def test_the_readme_in_chinese_has_all_that_the_other_has() -> None:
    english, chinese = shape("README.md"), shape("README.zh-CN.md")

    assert len(english["headings"]) > 8
    assert chinese == english
    assert "](docs/README.zh-CN.md)" in PAGES["README.md"]
    assert "](../README.md)" in PAGES["README.zh-CN.md"]

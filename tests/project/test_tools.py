"""What the tests need of the system: found, or named; a machine without it runs the others."""

import os
import subprocess
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = ("sh", "ls", "env", "timeout", "id")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder of programs that has neither Chromium nor curl, and no Python with Playwright."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in SYSTEM:
        found = next(p for p in map(Path, ("/usr/bin", "/bin")) if (p / name).exists())
        (programs / name).symlink_to(found / name)
    return programs


def find_tools(programs: Path, home: Path) -> subprocess.CompletedProcess[str]:
    env = {"PATH": str(programs), "HOME": str(home), "VENV": str(home / "none")}
    script = str(ROOT / "tests" / "find-tools")
    words = ["sh", script]
    return subprocess.run(words, env=env, capture_output=True, text=True, timeout=60)


def program(programs: Path, name: str, text: str) -> None:
    (programs / name).write_text(f"#!{programs}/sh\n{text}\n")
    (programs / name).chmod(0o755)


def test_what_cannot_be_installed_is_named_and_no_error(bare: Path, tmp_path: Path) -> None:
    done = find_tools(bare, tmp_path)

    assert done.returncode == 0
    assert "SKIPPED" in done.stderr
    assert all(package in done.stderr for package in ("chromium", "libatomic1", "curl"))


def test_root_installs_each_package_even_where_one_cannot_be_had(
    bare: Path, tmp_path: Path
) -> None:
    program(bare, "id", "echo 0")
    asked = tmp_path / "asked"
    program(bare, "apt-get", f'echo "$*" >>{asked}; [ "$1" = update ]')

    done = find_tools(bare, tmp_path)

    lines = asked.read_text().splitlines()
    assert [line.split()[-1] for line in lines] == ["-qq", "chromium", "libatomic1", "curl"]
    assert done.returncode == 0 and "SKIPPED" in done.stderr


def test_a_machine_that_has_everything_is_left_alone() -> None:
    from tests.browser import conftest

    if conftest.missing():
        pytest.skip(conftest.missing())
    script = str(ROOT / "tests" / "find-tools")
    env = dict(os.environ)
    done = subprocess.run([script], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_skipped_for_want_of_a_tool_is_said_at_the_end(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_SHARE", raising=False)  # it would leave out the one file that there is
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text())
    reason = "no Chromium: install the package chromium, or run `make tools`"
    pytester.makepyfile(
        f"import pytest\n@pytest.mark.parametrize('n', range(3))\n"
        f"def test_it(n, monkeypatch):\n    pytest.skip({reason!r})\n"
    )
    done = pytester.runpytest("-p", "no:django")

    done.stdout.fnmatch_lines(["*3 TESTS WERE SKIPPED*", f"*{reason}"])


def test_without_venv_make_names_the_package(tmp_path: Path) -> None:
    fake = tmp_path / "python3"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    words = [
        "make",
        f"VENV={tmp_path / 'none'}",
        f"PYTHON={fake}",
        f"{tmp_path / 'none'}/bin/python",
    ]

    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert done.returncode
    assert "apt-get install python3 python3-venv" in done.stderr

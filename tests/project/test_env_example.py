"""The example must list what the settings read, or people will not find it."""

import re
from pathlib import Path

from dispatcher.conf import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = dict(
    line.removeprefix("#").split("=", 1)
    for line in (ROOT / ".env.example").read_text().splitlines()
    if re.match(r"#?[A-Z_]+=", line)
)


def test_it_lists_every_variable_that_the_settings_read() -> None:
    source = (ROOT / "project" / "settings.py").read_text()
    read = set(re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', source))
    assert len(read) > 10
    assert read <= set(EXAMPLE)


def test_it_has_the_defaults_of_the_scheduler_settings() -> None:
    shown = {name: value for name, value in EXAMPLE.items() if name.startswith("SCHEDULER_")}
    assert shown == {setting.name: str(setting.default) for setting in SETTINGS}

"""The one thing that pyproject.toml cannot say: README.md with whole addresses, because a package
index shows it where no file of this repository is beside it."""

import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
REPOSITORY = re.search(r'^Repository = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)[1]


def readme() -> str:
    """Pictures from where their bytes are, other files from where they can be read."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"(!\[[^\]]*\]\()(?!\w+:|#)", rf"\1{REPOSITORY}/raw/main/", text)
    return re.sub(r"((?<!!)\[[^\]]*\]\()(?!\w+:|#)", rf"\1{REPOSITORY}/blob/main/", text)


setup(long_description=readme(), long_description_content_type="text/markdown")

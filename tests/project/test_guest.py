"""A host's Celery suite has equal results with and without `install`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def host_suite(**environment: str) -> Any:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | environment
    words = [sys.executable, "-W", "ignore", str(ROOT / "tests/project/host_suite.py")]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.sampled(2)
def test_a_hosts_own_suite_has_the_same_results_with_and_without_us() -> None:
    without, with_us = host_suite(), host_suite(INSTALL="1")

    assert with_us == without
    assert without["results"]["chord"] == 6
    assert without["eager"][0] == 3
    assert without["request"] == ["host.based"]

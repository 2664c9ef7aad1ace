"""Loaded by Schemathesis: most of the well-formed ids become those of rows that are there, and the
names of the description's own examples, which are taken after the first time, become new ones."""

import itertools
import json
import os
import re
from typing import Any
from zlib import crc32

import schemathesis

IDS: dict[str, list[str]] = json.loads(os.environ["SEEDED_IDS"])
FORMS = {"scheduled-tasks": r"[0-9]+", "runs": r"[0-9a-f-]{36}", "tasks": r"[^/]+"}

numbers = itertools.count(1)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    kind = case.operation.path.removeprefix("/api/v1/").partition("/")[0]
    for name, value in (case.path_parameters or {}).items():
        lot = crc32(f"{case.operation.label} {value} {case.body!r}".encode())
        if re.fullmatch(FORMS[kind], str(value)) and lot % 4:
            case.path_parameters[name] = IDS[kind][lot % len(IDS[kind])]
    if isinstance(case.body, dict) and " " in str(case.body.get("name", "")):
        case.body = case.body | {"name": f"{case.body['name']} {next(numbers)}"[:200]}

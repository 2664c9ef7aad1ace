"""ETags of scheduled tasks: has it been edited since, and has anything that is shown changed?

    ETag: "7.4211.9f3c1a2b66d01c55"

Revision, newest row of the audit trail, and a digest of the representation. Every edit that a
person can make writes a row of the trail, also one that leaves the revision alone (of the
description). `If-Match` is about edits: it compares the first two, because the next run of a
schedule moves every few seconds without anybody's doing. `If-None-Match` is about what is shown,
and compares the whole.
"""

from hashlib import blake2s
from typing import Any

from django.utils.http import parse_etags
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from dispatcher.api.kernel.problems import PreconditionFailed
from scheduling.models import ScheduledTask


def version_of(row: ScheduledTask) -> str:
    """The version of a row: it changes with every edit and nothing else. One query, by index."""
    trail = ScheduledTask.history.filter(id=row.pk).values_list("history_id", flat=True)
    return f"{row.revision}.{trail.first() or 0}"


def etag_of(row: ScheduledTask, representation: Any) -> str:
    body = JSONRenderer().render(representation)
    return f'"{version_of(row)}.{blake2s(body, digest_size=8).hexdigest()}"'


def check_if_match(request: Request, row: ScheduledTask) -> None:
    """Raise `PreconditionFailed` unless `If-Match` names the version of the row, which the caller
    has locked. Weak tags match nothing here."""
    etags = request.headers.get("If-Match")
    if etags is None or etags.strip() == "*":
        return
    version = version_of(row)
    if not any(tag.strip('"').rpartition(".")[0] == version for tag in parse_etags(etags)):
        raise PreconditionFailed


def is_unchanged(request: Request, etag: str) -> bool:
    """Whether who asks has this representation already (`If-None-Match`)."""
    etags = request.headers.get("If-None-Match")
    if etags is None:
        return False
    tags = {tag.removeprefix("W/") for tag in parse_etags(etags)}
    return "*" in tags or etag in tags

"""The traceback and the log of a run, as blocks of lines that show what one looks for."""

import re

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from dispatcher import conf
from dispatcher.models import Status, TaskRun

_FRAME = re.compile(r'\s+File "(?P<path>[^"]*)"')
_FOREIGN = re.compile(r"site-packages|dist-packages|/lib/python3|/billiard/|<frozen ")


def traceback_block(text: str) -> SafeString:
    """The traceback with the frames of libraries set back: one's own are what one looks for."""
    parts: list[tuple[str, str]] = []
    foreign = False
    for line in text.rstrip("\n").split("\n"):
        if frame := _FRAME.match(line):
            foreign = bool(_FOREIGN.search(frame["path"]))
        elif not line.startswith("    "):
            foreign = False
        parts.append(("mh-foreign" if foreign else "", line))
    return _block(parts)


_LEVEL = re.compile(r"\d{4}-\d\d-\d\d [\d:.]+Z (?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) ")
_CUT = re.compile(r"\[(\d+) earlier lines were cut\]$")


def log_block(text: str) -> SafeString:
    """The lines, those of warnings and errors marked; what was cut is said in its place."""
    parts: list[tuple[str, str]] = []
    kind = ""
    for line in text.rstrip("\n").split("\n"):
        if cut := _CUT.match(line):
            count = int(cut[1])
            said = ngettext("… %(n)d earlier line was cut", "… %(n)d earlier lines were cut", count)
            parts.append(("mh-cut", said % {"n": count}))
            continue
        if level := _LEVEL.match(line):
            kind = f"mh-log-{level['level'].lower()}"
        parts.append((kind, line))
    return _block(parts)


def _block(parts: list[tuple[str, str]]) -> SafeString:
    """Lines as one block; a line without a class of its own is plain text."""
    lines = [
        format_html('<span class="{}">{}</span>', kind, line) if kind else format_html("{}", line)
        for kind, line in parts
    ]
    inside = format_html_join(mark_safe("\n"), "{}", ((line,) for line in lines))
    return format_html('<pre class="mh-block" tabindex="0">{}</pre>', inside)


_KILLED = ("time_limit", "by_person", "cancel_previous", "revoked", "paused", "deleted")


def log_text(run: TaskRun) -> SafeString:
    """What the last attempt logged, or why there is nothing."""
    if run.log:
        return log_block(run.log)
    return format_html('<span class="mh-quiet">{}</span>', _no_log_text(run))


def _no_log_text(run: TaskRun) -> str:
    if run.status == Status.RUNNING:
        return _("Its lines are stored when the attempt ends.")
    params = run.reason_params if isinstance(run.reason_params, dict) else {}
    by_force = run.status == Status.LOST or run.reason in _KILLED
    if by_force and not params.get("soft"):
        return _("None: its lines are stored when an attempt ends by itself, and it was ended.")
    if conf.RUN_LOG_KIB.value <= 0:
        return _("Nothing is kept: SCHEDULER_RUN_LOG_KIB is 0.")
    return _("It logged nothing.")

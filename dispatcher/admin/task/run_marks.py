"""The newest runs of a scheduled task as a strip of marks, and what they come to.

A mark differs from others by its colour, its height and its form. Of the links of a strip one is
reached by the tabulator key, and the others from there by the arrow keys (ticks.js).
"""

from collections import Counter
from collections.abc import Mapping
from functools import cache

from django.urls import reverse
from django.utils.html import escape, format_html
from django.utils.safestring import mark_safe
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from dispatcher.models import Status
from dispatcher.watch.recent_runs import Newest, RecentRuns
from scheduling.models import ScheduledTask
from scheduling.words import duration_text, moment_text

#: Below this share of runs that succeeded (per cent) it is told in the colour of failure.
GOOD = 90


def facts(recent: RecentRuns) -> str:
    """The share of runs that succeeded, never rounded up to a hundred, and the median duration."""
    if not recent.worked:
        return ""
    said = ngettext(
        "Of its newest run, %(worked)d ended by its own work; %(succeeded)d succeeded.",
        "Of its newest %(all)d runs, %(worked)d ended by their own work; %(succeeded)d succeeded.",
        len(recent.runs),
    ) % {"all": len(recent.runs), "worked": recent.worked, "succeeded": recent.succeeded}
    rate = 100 * recent.succeeded // recent.worked
    style = "mh-rate" if rate >= GOOD else "mh-rate mh-poor"
    shown = format_html('<span class="{}" title="{}">{} %</span>', style, said, rate)
    if recent.median is not None:
        took = _("Median duration of these: %(time)s") % {"time": duration_text(recent.median)}
        shown += format_html(' · <span title="{}">{}</span>', took, duration_text(recent.median))
    return format_html('<div class="mh-record">{}</div>', shown)


def strip(task: ScheduledTask, recent: RecentRuns) -> str:
    """The strip, oldest run first; a dash where there is none."""
    if not recent.runs:
        return "–"
    shown = recent.shown
    base = reverse("admin:dispatcher_taskrun_change", args=["0"])
    labels = _labels(get_language())
    links = [_mark(run, task.timezone, base, labels) for run in shown[:-1]]
    links.append(_mark(shown[-1], task.timezone, base, labels, tab=0))
    return format_html(
        '<span class="mh-ticks" role="group" aria-label="{}">{}</span>',
        _summary(shown),
        mark_safe("".join(links)),  # each part is escaped or made here
    )


@cache
def _labels(language: str | None) -> Mapping[str, str]:
    """The names of the states in that language, escaped: a page needs them some thousand times."""
    return {status.value: str(escape(status.label)) for status in Status}


def _mark(run: Newest, zone: str, base: str, labels: Mapping[str, str], tab: int = -1) -> str:
    facts = [labels.get(run.status) or escape(run.status)]
    facts.append(moment_text(run.scheduled_for, zone)[:16])
    if run.duration is not None:
        facts.append(duration_text(run.duration))
    said, url = " · ".join(facts), base.replace("/0/", f"/{run.pk}/")
    known = run.status if run.status in labels else "unknown"
    return (
        f'<a class="mh-tick mh-{known}" href="{url}" title="{said}" aria-label="{said}"'
        f' tabindex="{tab}"></a>'
    )


def _summary(runs: list[Newest]) -> str:
    """`20 newest runs: 18 succeeded, 2 failed`"""
    counts = Counter(run.status for run in runs)
    parts = [f"{counts[s]} {s.label}" for s in Status if counts[s]]
    head = ngettext("%(n)d newest run", "%(n)d newest runs", len(runs)) % {"n": len(runs)}
    return _("%(head)s: %(parts)s") % {"head": head, "parts": ", ".join(parts)}

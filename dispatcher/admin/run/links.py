"""Where one may go from the page of a run: to run it again, to the run before it and after it."""

from typing import TYPE_CHECKING, Any

from django.http import HttpRequest
from django.utils.translation import gettext as _

from dispatcher.admin.kit import row_pages
from dispatcher.admin.kit.html import run_url, status_badge
from dispatcher.admin.kit.row_pages import Link, may, page_url
from dispatcher.models import TaskRun
from scheduling.words import moment_text

if TYPE_CHECKING:
    from dispatcher.admin.run.admin import TaskRunAdmin


def of_run(model_admin: "TaskRunAdmin", request: HttpRequest, run: TaskRun) -> list[Link]:
    """The pages that ask before something is done to the run; a rerun with other arguments is
    asked for by the same page as one without."""
    links = list(row_pages.links(model_admin, request, run, model_admin.pages))
    if run.is_ended and may(model_admin, request, "rerun"):
        url = page_url(model_admin, "rerun", run)
        links.append((f"{url}?arguments", _("Run again with other arguments")))
    return links


def neighbours(run: TaskRun) -> list[dict[str, Any]]:
    """The run before and the run after this one, of the same scheduled task."""
    if run.scheduled_task_id is None:
        return []
    runs = TaskRun.objects.filter(scheduled_task=run.scheduled_task_id).only(
        "status", "scheduled_for"
    )
    others = [
        ("prev", _("Previous run"), runs.filter(pk__lt=run.pk).order_by("-pk").first()),
        ("next", _("Next run"), runs.filter(pk__gt=run.pk).order_by("pk").first()),
    ]
    return [
        {
            "rel": rel,
            "label": label,
            "url": run_url(other.pk),
            "badge": status_badge(other.status),
            "time": moment_text(other.scheduled_for),
        }
        for rel, label, other in others
        if other is not None
    ]

"""What one may do to a scheduled task, and to all of them, as the pages offer it."""

from typing import TYPE_CHECKING

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _

from dispatcher.admin.kit import row_pages
from dispatcher.admin.kit.row_pages import Link
from dispatcher.admin.task import skipping
from scheduling.models import ScheduledTask
from scheduling.stop import current_stop

if TYPE_CHECKING:
    from dispatcher.admin.task.admin import ScheduledTaskAdmin


def of_task(
    model_admin: "ScheduledTaskAdmin", request: HttpRequest, task: ScheduledTask, but: str = ""
) -> list[Link]:
    """The pages that ask before something is done to the task, `but` one of them."""
    pages = {name: page for name, page in model_admin.pages.items() if name != but}
    return [
        *skipping.unskip_links(model_admin, request, task),
        *row_pages.links(model_admin, request, task, pages),
    ]


def buttons(
    model_admin: "ScheduledTaskAdmin", request: HttpRequest, task: ScheduledTask
) -> list[Link]:
    """What needs no question, as (address to post to, label): to resume."""
    if task.enabled or not model_admin.has_pause_permission(request):
        return []
    return [(row_pages.page_url(model_admin, "resume", task), _("Resume"))]


def of_list(model_admin: "ScheduledTaskAdmin", request: HttpRequest) -> list[Link]:
    """What one may do to all of them, from the list."""
    if not model_admin.has_pause_permission(request) or current_stop() is not None:
        return []
    return [(reverse("admin:scheduling_stop_pause"), _("Pause everything"))]

"""What the pages behind the buttons of a scheduled task have in common: they ask, do it, tell where
it failed, and lead back to the task."""

import logging
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _

from dispatcher.admin.kit import asking
from dispatcher.admin.kit.html import complaint
from scheduling.models import ScheduledTask

logger = logging.getLogger(__name__)


def ask(request: HttpRequest, task: ScheduledTask, **question: Any) -> HttpResponse:
    """The page that asks before something is done to the task; “no” leads back to it."""
    return asking.ask(request, task, back=task_url(task), **question)


def attempt(
    request: HttpRequest, task: ScheduledTask, verb: Callable[[ScheduledTask], object]
) -> bool | None:
    """Do it to the task; whether it was done. None where it failed: the person is told why."""
    try:
        return bool(verb(task))
    except Exception as error:
        if not isinstance(error, ValidationError):
            logger.exception("An action on scheduled task %s failed", task.name)
        texts = {"name": task.name, "problem": complaint(error)}
        messages.error(request, _("“%(name)s”: %(problem)s") % texts)
        return None


def back_to(task: ScheduledTask) -> HttpResponse:
    return HttpResponseRedirect(task_url(task))


def task_url(task: ScheduledTask) -> str:
    return reverse("admin:scheduling_scheduledtask_change", args=[task.pk])

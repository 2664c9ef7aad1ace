"""The admin of scheduled tasks: what should run and when. `admin.py` beside it adds what became
of it, and the buttons."""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.admin.utils import flatten_fieldsets
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST

from dispatcher.admin.kit import html
from dispatcher.admin.kit.fields import WallTimeField, WallTimeWidget
from dispatcher.admin.task import panels
from dispatcher.admin.task.columns import TaskList
from dispatcher.admin.task.fieldsets import FIELDSETS, for_reading
from dispatcher.admin.task.form import ScheduledTaskForm
from dispatcher.admin.task.preview import answer
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.trail import Via, acting
from scheduling.words import task_advice, wording

if TYPE_CHECKING or not apps.is_installed("import_export"):  # a project may do without it
    Listed = TaskList
else:
    from dispatcher.admin.task.files_admin import ExchangeAdmin as Listed

logger = logging.getLogger(__name__)


class ScheduledTaskAdmin(Listed):
    form = ScheduledTaskForm
    formfield_overrides = {
        models.DateTimeField: {"form_class": WallTimeField, "widget": WallTimeWidget}
    }
    readonly_fields: ClassVar[Any] = ("state_now", "preview", "next_runs")

    now_fields: ClassVar[tuple[str, ...]] = ("state_now",)
    form_fieldsets: ClassVar[Any] = FIELDSETS

    class Media:
        css = {"all": ("dispatcher/admin.css", "dispatcher/form.css")}
        js = ("dispatcher/combobox.js", "dispatcher/form.js")

    # Reading ------------------------------------------------------------------------------------

    def get_fieldsets(self, request: HttpRequest, obj: ScheduledTask | None = None) -> Any:
        if obj is None:
            return self.form_fieldsets
        now = (gettext_lazy("Now"), {"fields": self.now_fields})
        if self.has_change_permission(request, obj):
            return (now, *self.form_fieldsets)
        return (now, *map(for_reading, self.form_fieldsets))

    @admin.display(description=gettext_lazy("state"))
    def state_now(self, task: ScheduledTask) -> str:
        state = wording.state_of(task)
        shown = html.badge(state, wording.state_label(state))
        return format_html("{} {}", shown, wording.state_story(task))

    @admin.display(description=gettext_lazy("next runs"))
    def next_runs(self, task: ScheduledTask) -> str:
        """For those who see no form, and so no preview."""
        return panels.stored_panel(task)

    # Read-only twins of fields: on the clock of the task, and with secrets masked -----------------

    @admin.display(description=gettext_lazy("positional arguments"))
    def shown_args(self, task: ScheduledTask) -> str:
        return html.json_block(task.args)

    @admin.display(description=gettext_lazy("keyword arguments"))
    def shown_kwargs(self, task: ScheduledTask) -> str:
        return html.json_block(task.kwargs)

    @admin.display(description=gettext_lazy("run at"))
    def shown_run_at(self, task: ScheduledTask) -> str:
        return wording.moment_text(task.run_at, task.timezone)

    @admin.display(description=gettext_lazy("starts at"))
    def shown_starts_at(self, task: ScheduledTask) -> str:
        return wording.moment_text(task.starts_at, task.timezone)

    @admin.display(description=gettext_lazy("ends at"))
    def shown_ends_at(self, task: ScheduledTask) -> str:
        return wording.moment_text(task.ends_at, task.timezone)

    # Writing ------------------------------------------------------------------------------------

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Write only what the person changed: the tick and other people share the row."""
        if change:
            obj.save(update_fields=form.written_columns())
        else:
            obj.save()
        self._advise(request, obj)

    def _advise(self, request: HttpRequest, obj: ScheduledTask) -> None:
        """An unknown task is allowed: this process need not know what the workers know."""
        if advice := task_advice(obj.task):
            messages.warning(request, advice)

    # The form while it is filled in ---------------------------------------------------------------

    @admin.display(description=gettext_lazy("preview"))
    def preview(self, task: ScheduledTask) -> str:
        """Where the form shows what it would do; without JavaScript, what is stored does."""
        stored = task is not None and task.pk is not None
        kept = panels.stored_panel(task) if stored else panels.empty_runs_panel()
        name = "preview" if stored else "preview_new"
        url = reverse(f"admin:scheduling_scheduledtask_{name}", args=[task.pk] if stored else [])
        context = {"panel": kept, "url": url, "is_new": not stored}
        return render_to_string("dispatcher/panels/preview.html", context)

    def preview_view(self, request: HttpRequest, pk: int | None = None) -> HttpResponse:
        """What saving the posted form would say; for those who may save it. Saves nothing."""
        task = None if pk is None else self.get_object(request, str(pk))
        if pk is not None and task is None:
            raise Http404
        if not self._may_save(request, task):
            raise PermissionDenied
        fields = flatten_fieldsets(self.get_fieldsets(request, task))
        form_class = self.get_form(request, task, change=task is not None, fields=fields)
        form = form_class(request.POST, instance=task)
        return JsonResponse(answer(form, database_now()))

    def _may_save(self, request: HttpRequest, task: ScheduledTask | None) -> bool:
        if task is None:
            return self.has_add_permission(request)
        return self.has_change_permission(request, task)

    # Pause and resume ---------------------------------------------------------------------------

    def has_pause_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("scheduling.pause_scheduledtask")

    def pause_one(
        self,
        request: HttpRequest,
        task: ScheduledTask,
        *,
        until: datetime | None = None,
        why: str = "",
    ) -> bool:
        """True if it was not paused; `why` is kept beside its state."""
        params = {"message": why} if why else None
        done = task.pause(by=request.user, until=until, params=params)
        return done and self._log_enabled(request, task)

    def resume_one(self, request: HttpRequest, task: ScheduledTask) -> bool:
        return task.resume(by=request.user) and self._log_enabled(request, task)

    def _log_enabled(self, request: HttpRequest, task: ScheduledTask) -> bool:
        self.log_change(request, task, [{"changed": {"fields": ["enabled"]}}])
        return True

    def attempt(
        self, request: HttpRequest, task: ScheduledTask, verb: Callable[[ScheduledTask], object]
    ) -> bool | None:
        """Do it to the task; whether it was done. None where it failed: the person is told why."""
        try:
            return bool(verb(task))
        except Exception as error:
            if not isinstance(error, ValidationError):
                logger.exception("An action on scheduled task %s failed", task.name)
            texts = {"name": task.name, "problem": html.complaint(error)}
            messages.error(request, _("“%(name)s”: %(problem)s") % texts)
            return None

    def buttons(self, request: HttpRequest, task: ScheduledTask) -> list[tuple[str, str]]:
        """What one may do to the task on its page: (name of the view, label)."""
        if not self.has_pause_permission(request):
            return []
        if task.enabled:
            return [("pause", _("Pause"))]
        return [("resume", _("Resume"))]

    def button_addresses(self, request: HttpRequest, task: ScheduledTask) -> list[tuple[str, str]]:
        """The buttons as (address to post to, label)."""
        return [
            (reverse(f"admin:scheduling_scheduledtask_{name}", args=[task.pk]), label)
            for name, label in self.buttons(request, task)
        ]

    def get_urls(self) -> list[URLPattern]:
        return [
            self.page_url("pause", self.pause_view),
            self.page_url("resume", self.resume_view),
            self.page_url("preview", self.preview_view),
            path(
                "preview/",
                self.admin_site.admin_view(require_POST(self.preview_view)),
                name="scheduling_scheduledtask_preview_new",
            ),
            *super().get_urls(),
        ]

    def page_url(self, name: str, view: Callable[..., HttpResponse], *methods: str) -> URLPattern:
        """A page of one scheduled task. What it changes is on record as done in the admin."""

        def in_their_name(request: HttpRequest, pk: int) -> HttpResponse:
            with acting(Via.ADMIN, request.user):
                return view(request, pk)

        wrapped = self.admin_site.admin_view(
            require_http_methods(methods or ("POST",))(in_their_name)
        )
        return path(f"<int:pk>/{name}/", wrapped, name=f"scheduling_scheduledtask_{name}")

    def pause_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        task = self.task_for(request, pk, self.has_pause_permission(request))
        if self.attempt(request, task, lambda task: self.pause_one(request, task)):
            messages.success(request, _("“%(name)s” is paused.") % {"name": task.name})
        return self.back_to(task)

    def resume_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        task = self.task_for(request, pk, self.has_pause_permission(request))
        if self.attempt(request, task, lambda task: self.resume_one(request, task)):
            messages.success(request, _("“%(name)s” is resumed.") % {"name": task.name})
        return self.back_to(task)

    def task_for(self, request: HttpRequest, pk: int, allowed: bool) -> ScheduledTask:
        """The task that a button is about, for somebody who may see it and press the button."""
        if not (allowed and self.has_view_permission(request)):
            raise PermissionDenied
        task: ScheduledTask | None = self.get_object(request, str(pk))
        if task is None:
            raise Http404
        return task

    def back_to(self, task: ScheduledTask) -> HttpResponse:
        return HttpResponseRedirect(
            reverse("admin:scheduling_scheduledtask_change", args=[task.pk])
        )

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        if (task := context.get("original")) is not None:
            context["buttons"] = self.button_addresses(request, task)
        return super().render_change_form(request, context, *args, **options)


admin.site.register(ScheduledTask, ScheduledTaskAdmin)

"""Import and export in the admin, where django-import-export is installed: an export of the list
as it is filtered, or of what is selected; an import that shows first what it would do."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from dispatcher.admin.exchange import files as task_files
from dispatcher.admin.exchange import import_page
from dispatcher.admin.exchange.form import FileForm
from dispatcher.admin.exchange.resource import COLUMNS, MOST_ROWS, RefusedFile, TaskResource
from dispatcher.admin.task.columns import TaskList
from scheduling.database import database_now
from scheduling.trail import Via, acting

_PAGE = "admin/scheduling/scheduledtask/"


class ExchangeAdmin(TaskList):
    actions: Any = ("export",)

    def has_import_permission(self, request: HttpRequest) -> bool:
        return self.has_add_permission(request) and self.has_change_permission(request)

    def get_urls(self) -> list[URLPattern]:
        pages = {"import": self.import_view, "export": self.export_view}
        return [
            *(
                path(f"{n}/", self.admin_site.admin_view(v), name=f"scheduling_scheduledtask_{n}")
                for n, v in pages.items()
            ),
            *super().get_urls(),
        ]

    def list_links(self, request: HttpRequest) -> list[tuple[str, str]]:
        """What one may do besides: (address, label). The export keeps the filters of the list."""
        links = super().list_links(request)
        filters = request.GET.urlencode()
        export = _url("export") + (f"?{filters}" if filters else "")
        if self.has_import_permission(request):
            links.append((_url("import"), _("Import")))
        return [*links, (export, _("Export"))]

    # Export -------------------------------------------------------------------------------------

    @admin.action(description=gettext_lazy("Export"), permissions=["view"])
    def export(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        ids = list(queryset.order_by().values_list("pk", flat=True))
        return self._export_page(request, len(ids), ",".join(map(str, ids)))

    def export_view(self, request: HttpRequest) -> HttpResponse:
        """A GET asks for the format; a POST with `format` is answered with the file."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            rows = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            return HttpResponseRedirect(_url("export"))
        if ids := request.POST.get("ids", ""):
            chosen = [int(text) for text in ids.split(",") if text.isdecimal()]
            rows = self.get_queryset(request).filter(pk__in=chosen).order_by("name_key")
        kind = request.POST.get("format")
        if kind not in task_files.WRITERS:
            return self._export_page(request, rows.count(), ids)
        return _file(kind, rows)

    def _export_page(self, request: HttpRequest, count: int, ids: str) -> HttpResponse:
        question = ngettext("Export %(n)d scheduled task", "Export %(n)d scheduled tasks", count)
        context = {"title": question % {"n": count}, "ids": ids, "is_many": count > MOST_ROWS}
        filters = request.GET.urlencode()
        context |= {"url": _url("export") + (f"?{filters}" if filters and not ids else "")}
        return self._page(request, "export.html", most=MOST_ROWS, **context)

    # Import -------------------------------------------------------------------------------------

    def import_view(self, request: HttpRequest) -> HttpResponse:
        """A POST with a `file` shows what it would do; one with what that page `kept` does it."""
        if not self.has_import_permission(request):
            raise PermissionDenied
        form = FileForm(request.POST or None, request.FILES or None)
        if "kept" in request.POST:
            return self._confirmed(request)
        if request.method != "POST" or not form.is_valid():
            return self._page(request, "import.html", title=_("Import"), form=form, heads=COLUMNS)
        upload = form.cleaned_data["file"]
        return self._shown(request, upload.name, upload.read())

    def _shown(
        self, request: HttpRequest, name: str, content: bytes, changed: bool = False
    ) -> HttpResponse:
        try:
            outcome, _result = import_page.run(name, content, dry=True)
        except RefusedFile as error:
            return self._refused(request, str(error))
        kept = import_page.kept(request.user, name, content, outcome.digest)
        title = _("Import of “%(name)s”") % {"name": name}
        shown = {"title": title, "outcome": outcome, "kept": kept, "changed_since": changed}
        return self._page(request, "import.html", **shown)

    def _refused(self, request: HttpRequest, why: str) -> HttpResponse:
        form = FileForm()
        context = {"title": _("Import"), "form": form, "refused": why, "heads": COLUMNS}
        return self._page(request, "import.html", **context)

    def _confirmed(self, request: HttpRequest) -> HttpResponse:
        given = import_page.given_back(request.user, request.POST["kept"])
        if given is None:
            return self._refused(request, _("That took too long. Choose the file again."))
        name, content, seen = given
        if import_page.run(name, content, dry=True)[0].digest != seen:
            return self._shown(request, name, content, changed=True)
        with acting(Via.ADMIN, request.user):
            outcome, result = import_page.run(name, content, dry=False)
        if outcome.refused:  # what somebody else did between the two
            return self._shown(request, name, content, changed=True)
        self._log(request, name, result)
        messages.success(request, _summary(outcome))
        return HttpResponseRedirect(_url("changelist"))

    def _log(self, request: HttpRequest, name: str, result: Any) -> None:
        said = _("Imported from “%(name)s”.") % {"name": name}
        for row in result.rows:
            if row.import_type == row.IMPORT_TYPE_NEW:
                self.log_addition(request, row.instance, said)
            elif row.import_type == row.IMPORT_TYPE_UPDATE:
                self.log_change(request, row.instance, said)

    def _page(self, request: HttpRequest, template: str, **context: Any) -> HttpResponse:
        shown = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            **context,
        }
        return TemplateResponse(request, _PAGE + template, shown)


def _url(name: str) -> str:
    return reverse(f"admin:scheduling_scheduledtask_{name}")


def _file(kind: str, rows: Any) -> HttpResponse:
    fields = TaskResource().fields
    columns = [fields[name] for name in COLUMNS]
    found = ([column.export(task) for column in columns] for task in rows.iterator(chunk_size=500))
    response = HttpResponse(task_files.WRITERS[kind](found), content_type=task_files.TYPES[kind])
    name = f"scheduled-tasks-{database_now():%Y-%m-%d}.{kind}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _summary(outcome: import_page.Outcome) -> str:
    """`Imported: 3 new, 2 changed, 5 unchanged.`"""
    counts = outcome.counts
    texts = {kind: counts[kind] for kind in ("new", "changed", "unchanged")}
    return _("Imported: %(new)d new, %(changed)d changed, %(unchanged)d unchanged.") % texts

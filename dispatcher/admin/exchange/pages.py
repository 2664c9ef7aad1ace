"""Import and export in the admin, where django-import-export is installed: an export of the list
as it is filtered, or of what is selected; an import that shows first what it would do."""

from functools import partial
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
from dispatcher.admin.exchange import outcome as outcomes
from dispatcher.admin.exchange.form import FileForm
from dispatcher.admin.exchange.resource import COLUMNS, MOST_ROWS, RefusedFile, TaskResource
from dispatcher.admin.kit.row_pages import Link
from scheduling.database import database_now, in_batches
from scheduling.trail import Via, acting

_TEMPLATES = "admin/scheduling/scheduledtask/"


def urls(model_admin: Any) -> list[URLPattern]:
    return [
        path(
            f"{name}/",
            model_admin.admin_site.admin_view(partial(page, model_admin)),
            name=f"scheduling_scheduledtask_{name}",
        )
        for name, page in (("import", import_page), ("export", export_page))
    ]


def links(model_admin: Any, request: HttpRequest) -> list[Link]:
    """Links to the pages, from the list. The export keeps the filters of the list."""
    filters = request.GET.urlencode()
    export = (_url("export") + (f"?{filters}" if filters else ""), _("Export"))
    return (
        [(_url("import"), _("Import")), export] if _may_import(model_admin, request) else [export]
    )


def _may_import(model_admin: Any, request: HttpRequest) -> bool:
    return bool(
        model_admin.has_add_permission(request) and model_admin.has_change_permission(request)
    )


def _page(model_admin: Any, request: HttpRequest, template: str, **context: Any) -> HttpResponse:
    shown = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "media": model_admin.media,
        **context,
    }
    return TemplateResponse(request, _TEMPLATES + template, shown)


# Export -------------------------------------------------------------------------------------------


@admin.action(description=gettext_lazy("Export"), permissions=["view"])
def export(model_admin: Any, request: HttpRequest, queryset: Any) -> HttpResponse:
    ids = list(queryset.order_by().values_list("pk", flat=True))
    return _export_page(model_admin, request, len(ids), ",".join(map(str, ids)))


def export_page(model_admin: Any, request: HttpRequest) -> HttpResponse:
    """A GET asks for the format; a POST with `format` is answered with the file."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    try:
        rows = model_admin.get_changelist_instance(request).queryset
    except IncorrectLookupParameters:
        return HttpResponseRedirect(_url("export"))
    if ids := request.POST.get("ids", ""):
        chosen = [int(text) for text in ids.split(",") if text.isdecimal()]
        rows = model_admin.get_queryset(request).filter(pk__in=chosen).order_by("name_key")
    kind = request.POST.get("format")
    if kind not in task_files.WRITERS:
        return _export_page(model_admin, request, rows.count(), ids)
    return _file(kind, rows)


def _export_page(model_admin: Any, request: HttpRequest, count: int, ids: str) -> HttpResponse:
    question = ngettext("Export %(n)d scheduled task", "Export %(n)d scheduled tasks", count)
    context = {"title": question % {"n": count}, "ids": ids, "is_many": count > MOST_ROWS}
    filters = request.GET.urlencode()
    context |= {"url": _url("export") + (f"?{filters}" if filters and not ids else "")}
    return _page(model_admin, request, "export.html", most=MOST_ROWS, **context)


def _file(kind: str, rows: Any) -> HttpResponse:
    fields = TaskResource().fields
    columns = [fields[name] for name in COLUMNS]
    written = ([column.export(task) for column in columns] for task in in_batches(rows))
    response = HttpResponse(task_files.WRITERS[kind](written), content_type=task_files.TYPES[kind])
    name = f"scheduled-tasks-{database_now():%Y-%m-%d}.{kind}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


# Import -------------------------------------------------------------------------------------------


def import_page(model_admin: Any, request: HttpRequest) -> HttpResponse:
    """A POST with a `file` shows what it would do; one with what that page `kept` does it."""
    if not _may_import(model_admin, request):
        raise PermissionDenied
    form = FileForm(request.POST or None, request.FILES or None)
    if "kept" in request.POST:
        return _confirmed(model_admin, request)
    if request.method != "POST" or not form.is_valid():
        return _asked(model_admin, request, form)
    upload = form.cleaned_data["file"]
    return _shown(model_admin, request, upload.name, upload.read())


def _asked(model_admin: Any, request: HttpRequest, form: FileForm, **context: Any) -> HttpResponse:
    context |= {"title": _("Import"), "form": form, "heads": COLUMNS}
    return _page(model_admin, request, "import.html", **context)


def _refused(model_admin: Any, request: HttpRequest, why: str) -> HttpResponse:
    return _asked(model_admin, request, FileForm(), refused=why)


def _shown(
    model_admin: Any, request: HttpRequest, name: str, content: bytes, changed: bool = False
) -> HttpResponse:
    """The page that tells what the import would do; `changed`: it is another thing than before."""
    try:
        outcome, _result = outcomes.run(name, content, dry=True)
    except RefusedFile as error:
        return _refused(model_admin, request, str(error))
    kept = outcomes.sealed(request.user, name, content, outcome.digest)
    title = _("Import of “%(name)s”") % {"name": name}
    shown = {"title": title, "outcome": outcome, "kept": kept, "changed_since": changed}
    return _page(model_admin, request, "import.html", **shown)


def _confirmed(model_admin: Any, request: HttpRequest) -> HttpResponse:
    """Import the file, if that still does what the person has seen."""
    unsealed = outcomes.unsealed(request.user, request.POST["kept"])
    if unsealed is None:
        said = _("That took too long. Choose the file again.")
        return _refused(model_admin, request, said)
    name, content, seen = unsealed
    if outcomes.run(name, content, dry=True)[0].digest != seen:
        return _shown(model_admin, request, name, content, changed=True)
    with acting(Via.ADMIN, request.user):
        outcome, result = outcomes.run(name, content, dry=False)
    if outcome.refused:  # what somebody else did between the two
        return _shown(model_admin, request, name, content, changed=True)
    _log(model_admin, request, name, result)
    messages.success(request, _summary(outcome))
    return HttpResponseRedirect(_url("changelist"))


def _log(model_admin: Any, request: HttpRequest, name: str, result: Any) -> None:
    said = _("Imported from “%(name)s”.") % {"name": name}
    for row in result.rows:
        if row.import_type == row.IMPORT_TYPE_NEW:
            model_admin.log_addition(request, row.instance, said)
        elif row.import_type == row.IMPORT_TYPE_UPDATE:
            model_admin.log_change(request, row.instance, said)


def _summary(outcome: outcomes.Outcome) -> str:
    """`Imported: 3 new, 2 changed, 5 unchanged.`"""
    counts = outcome.counts
    texts = {kind: counts[kind] for kind in ("new", "changed", "unchanged")}
    return _("Imported: %(new)d new, %(changed)d changed, %(unchanged)d unchanged.") % texts


def _url(name: str) -> str:
    return reverse(f"admin:scheduling_scheduledtask_{name}")

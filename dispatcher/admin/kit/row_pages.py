"""The pages about one row that an admin has besides Django's: `<id>/<name>/`.

A page is a function of the admin, the request and the row. An admin lists its pages as a dictionary
from their names; addresses, permissions and links follow from that:

    pages = {"cancel": RowPage(cancel.page, "cancel", gettext_lazy("Cancel"))}
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_http_methods

from scheduling.trail import Via, acting

ASKING = ("GET", "HEAD", "POST")
#: (address, label)
Link = tuple[str, Any]


def always(row: Any) -> bool:
    return True


@dataclass(frozen=True)
class RowPage:
    """A page about one row. `permission` is asked as Django's actions do it, by the admin's
    `has_<permission>_permission`; without a `label` no link leads to the page."""

    answer: Callable[[Any, HttpRequest, Any], HttpResponse]
    permission: str
    label: Any = ""
    is_offered: Callable[[Any], bool] = always
    methods: tuple[str, ...] = ASKING


def may(model_admin: Any, request: HttpRequest, permission: str) -> bool:
    return bool(getattr(model_admin, f"has_{permission}_permission")(request))


def row_urls(model_admin: Any, pages: Mapping[str, RowPage]) -> list[URLPattern]:
    """The addresses of the pages, named `<app>_<model>_<page>`."""
    pk = model_admin.opts.pk.get_internal_type()
    converter = "uuid" if pk == "UUIDField" else "int"
    return [
        path(
            f"<{converter}:pk>/{name}/",
            model_admin.admin_site.admin_view(_view(model_admin, page)),
            name=_url_name(model_admin, name),
        )
        for name, page in pages.items()
    ]


def _view(model_admin: Any, page: RowPage) -> Callable[..., HttpResponse]:
    """The view of the page. What it changes is noted as done in the admin by who asked."""

    def view(request: HttpRequest, pk: Any) -> HttpResponse:
        with acting(Via.ADMIN, request.user):
            return page.answer(model_admin, request, _row(model_admin, request, pk, page))

    return require_http_methods(page.methods)(view)


def _row(model_admin: Any, request: HttpRequest, pk: Any, page: RowPage) -> Any:
    """The row, for somebody who may see it and open the page."""
    if not may(model_admin, request, page.permission):
        raise PermissionDenied
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    row = model_admin.get_object(request, str(pk))
    if row is None:
        raise Http404
    return row


def page_url(model_admin: Any, name: str, row: Any) -> str:
    return reverse(f"admin:{_url_name(model_admin, name)}", args=[row.pk])


def _url_name(model_admin: Any, name: str) -> str:
    return f"{model_admin.opts.app_label}_{model_admin.opts.model_name}_{name}"


def links(
    model_admin: Any, request: HttpRequest, row: Any, pages: Mapping[str, RowPage]
) -> Iterator[Link]:
    """Links to those of the pages that this person may open, and that make sense for the row."""
    for name, page in pages.items():
        if page.label and page.is_offered(row) and may(model_admin, request, page.permission):
            yield page_url(model_admin, name, row), page.label

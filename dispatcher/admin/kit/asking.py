"""A page that asks before something happens: what will happen, perhaps a form, yes and no.

The page is a GET; its button a POST to the same address, which needs no page before it.
"""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.template.response import TemplateResponse

TEMPLATE = "admin/dispatcher/ask.html"
#: The most rows that a page names.
LISTED = 50

#: The name of a row, and what is special about it.
Named = tuple[str, Any]


def ask(
    request: HttpRequest,
    row: Any,
    *,
    title: Any,
    yes: Any,
    back: str,
    named: Sequence[Named] = (),
    hidden: Sequence[tuple[str, Any]] = (),
    says: Sequence[Any] = (),
    form: forms.Form | None = None,
    more: dict[str, Any] | None = None,
) -> TemplateResponse:
    """Ask on a page about `row`, or about its model where it has no id; `says` are its sentences,
    `yes` its button, `back` where “no” leads, `named` the rows that it lists, `hidden` what its
    form brings along."""
    shown = {
        **admin.site.each_context(request),
        "title": title,
        "opts": row._meta,
        "original": row,
        "says": says,
        "named": named[:LISTED],
        "unlisted": max(len(named) - LISTED, 0),
        "hidden": hidden,
        "yes": yes,
        "back": back,
        "form": form,
        **(more or {}),
    }
    return TemplateResponse(request, TEMPLATE, shown)

"""`{% with_languages %}`: puts the choice of a language into the header of every admin page."""

from typing import Any

from django import template
from django.conf import settings
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language, get_language_info

register = template.Library()

#: More languages than this are a list to choose from, not a row of buttons.
_BUTTONS = 4


@register.simple_block_tag(takes_context=True)
def with_languages(context: Any, content: SafeString) -> SafeString:
    """The header with the switch at its end.

    Inside the tag, not in a block of Django's template: its pages override every block there, and
    the login page leaves them empty.
    """
    before, end, after = content.rpartition("</header>")
    return mark_safe(f"{before}{_switch(context)}{end}{after}")


def _switch(context: Any) -> str:
    """Nothing where the project serves no `set_language` or has one language only."""
    languages = [(code, _own_name(code, name)) for code, name in settings.LANGUAGES]
    try:
        url = reverse("set_language")
    except NoReverseMatch:
        return ""
    if len(languages) < 2 or "request" not in context:
        return ""
    shown = {
        "url": url,
        "next": context["request"].get_full_path(),
        "csrf_token": context.get("csrf_token"),
        "languages": languages,
        "current": get_language(),
        "is_list": len(languages) > _BUTTONS,
    }
    return render_to_string("dispatcher/languages.html", shown)


def _own_name(code: str, name: Any) -> str:
    """`简体中文`: who looks for a language may read no other."""
    try:
        return str(get_language_info(code)["name_local"])
    except KeyError:  # a language that Django does not know
        return str(name)

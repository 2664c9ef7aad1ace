"""`{% overview %}`: the overview on a page that is not ours, the admin's start page."""

from typing import Any

from django import template

from dispatcher.admin import overview as page

register = template.Library()


@register.inclusion_tag("admin/dispatcher/overview/live.html", takes_context=True)
def overview(context: Any) -> dict[str, Any]:
    """All of it, for those who may see it; nothing for others."""
    request = context["request"]
    return page.context(request) if page.may_see(request) else {}

"""`{% overview %}`: the overview on a page that is not ours, the admin's start page."""

from typing import Any

from django import template

register = template.Library()


@register.inclusion_tag("admin/dispatcher/overview/live.html", takes_context=True)
def overview(context: Any) -> dict[str, Any]:
    """The overview for who may see it; nothing for others.

    The admin is imported here: Django imports every library of tags for its checks, also in a
    project that has no admin.
    """
    from dispatcher.admin.overview import page

    request = context["request"]
    return page.context(request) if page.may_see(request) else {}

"""Permissions: each action of a view names the scope of a token and the permissions of the user.

    requires = {"list": (Scope.READ, "scheduling.view_scheduledtask"), …}

A session has every scope. A view that leaves an action out cannot be routed.
"""

from typing import Any, ClassVar

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _
from rest_framework.exceptions import NotAuthenticated, PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from dispatcher.api.models import Scope

#: (scope, permission, …): all of them are needed.
Requirement = tuple[str, ...]


class DeclaredPermission(BasePermission):
    """Asks for what the view's `requires` says about the action."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if not (request.user and request.user.is_authenticated):
            raise NotAuthenticated
        action = action_of(view, request)
        if action is not None:
            scope, *permissions = view.requires[action]
            _require_scope(request, scope)
            _require_permissions(request, permissions)
        return True


def action_of(view: Any, request: Request) -> str | None:
    """The action that must be declared; None for OPTIONS, and where the answer will be a 405."""
    method = request.method.lower()
    action = view.action if hasattr(view, "action_map") else _SAME.get(method, method)
    return None if action in ("metadata", "options") or not hasattr(view, action or "") else action


_SAME = {"head": "get"}


def _require_scope(request: Request, scope: str) -> None:
    if request.auth is not None and not request.auth.has_scope(scope):
        message = _("This needs a token with the scope “%(scope)s”.")
        raise PermissionDenied(message % {"scope": scope}, "missing_scope")


def _require_permissions(request: Request, permissions: list[str]) -> None:
    for permission in permissions:
        if not request.user.has_perm(permission):
            message = _("This needs the permission “%(permission)s”.")
            raise PermissionDenied(message % {"permission": permission}, "missing_permission")


class Guarded:
    """A mixin for views: only what `requires` declares can be routed."""

    requires: ClassVar[dict[str, Requirement]]
    permission_classes = (DeclaredPermission,)

    @classmethod
    def as_view(cls, actions: Any = None, **options: Any) -> Any:
        names = set(actions.values()) if actions else {*_METHODS} & {*dir(cls)}
        for name in sorted(names):
            _check_declaration(cls, name)
        return super().as_view(*([actions] if actions else []), **options)  # type: ignore[misc]


_METHODS = ("get", "post", "put", "patch", "delete")


def _check_declaration(view: Any, name: str) -> None:
    required = getattr(view, "requires", {}).get(name)
    if not required:
        raise ImproperlyConfigured(f"{view.__name__}.requires says nothing about {name!r}.")
    scope, *permissions = required
    if scope not in Scope.values:
        raise ImproperlyConfigured(f"{view.__name__}.requires[{name!r}]: no scope {scope!r}.")
    if unknown := sorted({*permissions} - _known_permissions()):
        raise ImproperlyConfigured(
            f"{view.__name__}.requires[{name!r}]: no permission {unknown[0]!r}."
        )


def _known_permissions() -> set[str]:
    metas = [model._meta for model in apps.get_models()]
    standard = {
        (meta, f"{verb}_{meta.model_name}") for meta in metas for verb in meta.default_permissions
    }
    own = {(meta, codename) for meta in metas for codename, _name in meta.permissions}
    return {f"{meta.app_label}.{codename}" for meta, codename in standard | own}

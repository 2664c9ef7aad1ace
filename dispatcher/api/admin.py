"""Tokens in the admin: made (the secret is shown once), looked at and revoked, never edited."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_http_methods

from dispatcher.api.models import ApiToken, ApiTokenQuerySet, Scope
from scheduling.database import DatabaseNow, database_now


class ApiTokenForm(forms.ModelForm):  # type: ignore[type-arg]  # no generic at run time
    scopes = forms.MultipleChoiceField(
        label=gettext_lazy("Scopes"),
        choices=Scope.choices,
        widget=forms.CheckboxSelectMultiple,
        help_text=gettext_lazy("None includes another."),
    )


@admin.register(ApiToken)
class ApiTokenAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # no generic at run time
    form = ApiTokenForm
    list_display = (
        "name",
        "user",
        "scope_names",
        "prefix",
        "state",
        "created_at",
        "expires_at",
        "last_used_at",
    )
    list_select_related = ("user",)
    ordering = ("-pk",)
    empty_value_display = "–"
    actions = ("revoke",)
    given = ("name", "user", "scopes", "expires_at")
    shown = (
        "name",
        "user",
        "scope_names",
        "prefix",
        "state",
        "created_at",
        "created_by",
        "expires_at",
        "last_used_at",
        "revoked_at",
        "revoked_by",
    )

    # Reading ------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).annotate(read_at=DatabaseNow())

    def get_search_fields(self, request: HttpRequest) -> Any:
        return ("name", f"user__{get_user_model().USERNAME_FIELD}")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.given if obj is None else self.shown

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return () if obj is None else self.shown

    @admin.display(description=gettext_lazy("scopes"))
    def scope_names(self, token: ApiToken) -> str:
        return ", ".join(token.scopes)

    @admin.display(description=gettext_lazy("state"))
    def state(self, token: Any) -> str:
        if token.revoked_at is not None:
            return _("revoked")
        if token.expires_at <= token.read_at:
            return _("expired")
        return _("active") if token.user.is_active else _("its user is not active")

    # Making -------------------------------------------------------------------------------------

    def get_autocomplete_fields(self, request: HttpRequest) -> Any:
        users = self.admin_site._registry.get(get_user_model())
        searchable = users is not None and users.get_search_fields(request)
        return ("user",) if searchable and _is_superuser(request) else ()

    def formfield_for_foreignkey(self, db_field: Any, request: Any, **options: Any) -> Any:
        """A token gives what its user may do: only who may do everything makes it for others."""
        if not _is_superuser(request):
            options["queryset"] = get_user_model()._default_manager.filter(pk=request.user.pk)
        return super().formfield_for_foreignkey(db_field, request, **options)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"user": request.user.pk, **super().get_changeform_initial_data(request)}

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            obj.secret = obj.issue(database_now(), by=request.user)

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> Any:
        """The secret, on the page that answers: it is in no message, session or redirect."""
        return self._page(request, "secret", obj, title=_("The new token"), secret=obj.secret)

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **options: Any
    ) -> Any:
        obj = context.get("original")
        context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        if obj is not None:
            may = obj.revoked_at is None and self.has_change_permission(request, obj)
            context |= {"show_save": False, "revoke": may and self._revoke_url(obj.pk)}
        return super().render_change_form(request, context, *args, **options)

    # Revoking -----------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_http_methods(["GET", "POST"])(self.revoke_view))
        address = path("<int:pk>/revoke/", view, name="scheduling_api_apitoken_revoke")
        return [address, *super().get_urls()]

    def _revoke_url(self, pk: int) -> str:
        return reverse("admin:scheduling_api_apitoken_revoke", args=[pk])

    def revoke_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        token = self.get_object(request, str(pk))
        if not self.has_change_permission(request, token):
            raise PermissionDenied
        if token is None:
            raise Http404
        if request.method != "POST":
            return self._ask(request, [token])
        self._revoke(request, ApiToken.objects.filter(pk=pk))
        return HttpResponseRedirect(reverse("admin:scheduling_api_apitoken_change", args=[pk]))

    @admin.action(description=gettext_lazy("Revoke"), permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: ApiTokenQuerySet) -> HttpResponse | None:
        if "confirmed" not in request.POST:
            return self._ask(request, list(queryset), action="revoke")
        self._revoke(request, queryset)
        return None

    def _revoke(self, request: HttpRequest, tokens: ApiTokenQuerySet) -> None:
        news = list(tokens.filter(revoked_at=None))
        done = tokens.revoke(database_now(), by=request.user)
        for token in news:
            self.log_change(request, token, _("Revoked."))
        text = ngettext("%(n)d token is revoked.", "%(n)d tokens are revoked.", done)
        messages.success(request, text % {"n": done})

    def _ask(self, request: HttpRequest, tokens: list[ApiToken], action: str = "") -> HttpResponse:
        title = ngettext("Revoke the token?", "Revoke the tokens?", len(tokens))
        shown = {"title": title, "tokens": tokens, "action": action, "box": ACTION_CHECKBOX_NAME}
        return self._page(request, "revoke", tokens[0], **shown)

    def _page(self, request: HttpRequest, name: str, token: ApiToken, **shown: Any) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, "token": token}
        template = f"admin/scheduling_api/apitoken/{name}.html"
        return TemplateResponse(request, template, context | shown)


def _is_superuser(request: HttpRequest) -> bool:
    return bool(request.user.is_superuser)

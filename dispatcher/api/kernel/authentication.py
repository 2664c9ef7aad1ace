"""Who is asking: a program by its token, or a person by their session."""

from datetime import datetime
from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.authentication import SessionAuthentication as CookieAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from dispatcher.api.models import ApiToken


class BearerAuthentication(BaseAuthentication):
    """Authenticate by `Authorization: Bearer mh_…` (RFC 6750): `request.auth` is the `ApiToken`."""

    def authenticate(self, request: Request) -> tuple[Any, ApiToken] | None:
        words = get_authorization_header(request).decode("latin-1").split()
        if not words or words[0].lower() != "bearer":
            return None
        if len(words) != 2:
            raise AuthenticationFailed(_MALFORMED, "malformed_token")
        known = ApiToken.objects.presented(words[1])
        if known is None:
            raise AuthenticationFailed(_UNKNOWN, "invalid_token")
        token, now = known
        _check(token, now)
        if token.is_use_news(now):
            ApiToken.objects.filter(pk=token.pk).used(now)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        """The challenge of a 401; it names the error only to who presented a token (RFC 6750)."""
        presented = get_authorization_header(request).lower().startswith(b"bearer")
        return 'Bearer realm="api"' + (', error="invalid_token"' if presented else "")


_MALFORMED = _("Send “Authorization: Bearer”, one space, and the token.")
_UNKNOWN = _("There is no such token.")


def _check(token: ApiToken, now: datetime) -> None:
    """Refuse a token that does not count any more. The answers help nobody who guesses: only who
    knows the secret comes here."""
    if token.revoked_at is not None:
        raise AuthenticationFailed(_("This token was revoked."), "revoked_token")
    if token.expires_at <= now:
        raise AuthenticationFailed(_("This token has expired. Make a new one."), "expired_token")
    if not token.user.is_active:
        raise AuthenticationFailed(_("The user of this token is not active."), "inactive_user")


class SessionAuthentication(CookieAuthentication):
    """The session of the admin, with Django's protection against forged requests."""

    def enforce_csrf(self, request: Request) -> None:
        try:
            super().enforce_csrf(request)
        except PermissionDenied as error:
            raise PermissionDenied(str(error.detail), "csrf_failed") from error


#: What every view of the API accepts, whatever the project's own default is.
AUTHENTICATION = (BearerAuthentication, SessionAuthentication)

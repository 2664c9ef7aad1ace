"""Tokens of the API, and the answers that a repeated request gets again.

The tokens are our own, not django-rest-knox's: knox must stand in INSTALLED_APPS, is one model and
one set of settings for the whole project (a project that logs people in with it could not have
both), and deletes tokens that have expired, whose names the audit trail mentions.
"""

import hashlib
import re
import secrets
import string
from datetime import datetime, timedelta
from typing import Any, ClassVar, cast

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from scheduling.database import DatabaseNow, database_now

#: Secret scanners find a token by its beginning and its form.
PREFIX = "mh_"
_ALPHABET = string.ascii_letters + string.digits
_LENGTH = 43  # of 62 letters: 256 bits
_FORM = re.compile(PREFIX + f"[{_ALPHABET}]{{{_LENGTH}}}", re.ASCII)

#: How much of a token is kept readable, so that people recognise it.
_SHOWN = len(PREFIX) + 5

#: The last use is written at most this often.
USE_INTERVAL = timedelta(minutes=1)

DEFAULT_LIFE = timedelta(days=90)
#: What outlives this is a password that nobody changes.
LONGEST_LIFE = timedelta(days=3660)


class Scope(models.TextChoices):
    """What a token may be used for. None includes another: who triggers needs not read."""

    READ = "read", _("read: look at scheduled tasks, runs and tasks")
    RUN = "run", _("run: start, repeat and cancel runs")
    WRITE = "write", _("write: create, change, pause and delete scheduled tasks")


def new_secret() -> str:
    return PREFIX + "".join(secrets.choice(_ALPHABET) for _letter in range(_LENGTH))


def digest_of(text: str) -> str:
    """SHA-256 as 64 hexadecimal digits. A secret of 256 random bits needs no slow hash."""
    return hashlib.sha256(text.encode()).hexdigest()


def default_expiry() -> datetime:
    return database_now() + DEFAULT_LIFE


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def presented(self, secret: str) -> "tuple[ApiToken, datetime] | None":
        """The token of this secret with its user, and the time now, in one query.

        It may have expired or been revoked: ask it.
        """
        if not _FORM.fullmatch(secret):
            return None
        rows: Any = self.select_related("user").annotate(read_at=DatabaseNow())
        token = rows.filter(digest=digest_of(secret)).first()
        return None if token is None else (token, token.read_at)

    def used(self, now: datetime) -> int:
        """Note the use of the tokens, unless one was noted within the last minute."""
        old = Q(last_used_at=None) | Q(last_used_at__lte=now - USE_INTERVAL)
        return self.filter(old).update(last_used_at=now)

    def revoke(self, now: datetime, *, by: Any = None) -> int:
        """End the tokens that are not revoked yet; how many that were."""
        return self.filter(revoked_at=None).update(revoked_at=now, revoked_by=str(by or "")[:200])


_NO_LIFE = _("Give a time to come, at most ten years away.")


class ApiToken(models.Model):
    """Lets a program act as its user, within the scopes, until it expires or is revoked."""

    name = models.CharField(
        _("name"), max_length=40, help_text=_("What uses it. The audit trail names it.")
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("user"),
        on_delete=models.CASCADE,
        related_name="+",
        help_text=_("It may do what this user may do, within its scopes."),
    )
    scopes = models.JSONField(_("scopes"), default=list)
    prefix = models.CharField(_("begins with"), max_length=12, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(_("created"), editable=False)
    created_by = models.CharField(_("created by"), max_length=200, blank=True, editable=False)
    expires_at = models.DateTimeField(_("expires"), default=default_expiry)
    last_used_at = models.DateTimeField(_("last used"), null=True, editable=False)
    revoked_at = models.DateTimeField(_("revoked"), null=True, editable=False)
    revoked_by = models.CharField(_("revoked by"), max_length=200, blank=True, editable=False)

    objects: ClassVar[ApiTokenQuerySet] = cast(ApiTokenQuerySet, ApiTokenQuerySet.as_manager())

    class Meta:
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(
                fields=("user", "name"),
                name="apitoken_name",
                violation_error_message=_("This user has a token of this name already."),
            ),
        )

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        scopes = self.scopes if isinstance(self.scopes, list) else []
        if not scopes or not {*scopes} <= {*Scope.values}:
            text = _("Choose at least one of: %(choices)s.")
            params = {"choices": ", ".join(Scope.values)}
            raise ValidationError({"scopes": ValidationError(text, "scopes", params)})
        if self._state.adding and self.expires_at:
            now = database_now()
            if not now < self.expires_at <= now + LONGEST_LIFE:
                raise ValidationError({"expires_at": ValidationError(_NO_LIFE, "expires_at")})

    def is_use_news(self, now: datetime) -> bool:
        """Whether a use now is to be written: a busy token costs one write a minute."""
        return self.last_used_at is None or self.last_used_at <= now - USE_INTERVAL

    def has_scope(self, scope: str) -> bool:
        return scope in self.scopes

    def issue(self, now: datetime, *, by: Any = None) -> str:
        """Save this new token and return its secret, which nobody can read again."""
        secret = new_secret()
        self.prefix, self.digest = secret[:_SHOWN], digest_of(secret)
        self.created_at, self.created_by = now, str(by or "")[:200]
        self.save(force_insert=True)
        return secret


class IdempotencyKey(models.Model):
    """The answer to a request that carried an `Idempotency-Key`, for the day after it."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    # A digest, because some databases find "A" and "a" equal.
    key_digest = models.CharField(max_length=64)
    request_digest = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(default=0)
    headers = models.JSONField(default=dict)
    body = models.TextField(default="")
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(fields=("user", "key_digest"), name="idempotencykey_once"),
        )

    def __str__(self) -> str:
        return self.key_digest

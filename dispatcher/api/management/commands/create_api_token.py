"""`manage.py create_api_token`: a token for a program; the output is the token and nothing else.
With `--revoke` the end of one."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from dispatcher.api.models import DEFAULT_LIFE, LONGEST_LIFE, ApiToken, Scope
from scheduling.database import database_now


class Command(BaseCommand):
    help = "Make a token for the REST API and print it: this is the one time that it can be read."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user", help="whose permissions it has")
        parser.add_argument("--name", required=True, help="what uses it, for the audit trail")
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument(
            "--scope",
            action="append",
            choices=Scope.values,
            help="what it may do; give it again for another one",
        )
        what.add_argument(
            "--revoke", action="store_true", help="end the token of this user and name, at once"
        )
        parser.add_argument(
            "--expires-days", type=int, default=DEFAULT_LIFE.days, help="default: %(default)s"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["revoke"]:
            self.stdout.write(_revoked(_user_named(options["user"]), options["name"]))
            return
        days, now = options["expires_days"], database_now()
        if not 1 <= days <= LONGEST_LIFE.days:
            raise CommandError(f"--expires-days: give a number from 1 to {LONGEST_LIFE.days}.")
        token = ApiToken(
            user=_active(_user_named(options["user"])),
            name=options["name"],
            scopes=[scope for scope in Scope.values if scope in options["scope"]],
            expires_at=now + timedelta(days=days),
        )
        self.stdout.write(_issued(token, now))


def _user_named(name: str) -> Any:
    users = get_user_model()
    try:
        return users._default_manager.get_by_natural_key(name)
    except users.DoesNotExist as error:
        raise CommandError(
            f"There is no user {name!r}. Make one in the admin, or with manage.py createsuperuser."
        ) from error


def _active(user: Any) -> Any:
    if not user.is_active:
        raise CommandError(f"The user {str(user)!r} is not active: activate it in the admin first.")
    return user


def _issued(token: ApiToken, now: Any) -> str:
    try:
        token.full_clean(exclude=["digest", "prefix", "created_at"])
    except ValidationError as error:
        raise CommandError(" ".join(error.messages)) from error
    return token.issue(now, by="create_api_token")


def _revoked(user: Any, name: str) -> str:
    token = ApiToken.objects.filter(user=user, name=name).first()
    if token is None:
        names = ApiToken.objects.filter(user=user, revoked_at=None).values_list("name", flat=True)
        has = f"It has: {', '.join(names)}." if names else "It has none."
        raise CommandError(f"The user {str(user)!r} has no token {name!r}. {has}")
    if ApiToken.objects.filter(pk=token.pk).revoke(database_now(), by="create_api_token"):
        return f"The token {name!r} is revoked."
    return f"The token {name!r} was revoked already."

"""The mails to owners of scheduled tasks: to whom, what they say, and by what connection."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage, get_connection
from django.core.validators import validate_email
from django.urls import NoReverseMatch, reverse
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from dispatcher.models import Failing, TaskRun
from dispatcher.models.status import BAD
from dispatcher.reasons import describe
from scheduling.models import ScheduledTask
from scheduling.trail import user_model
from scheduling.words import moment_text, state_reason_text

#: Seconds for each answer of a mail server, where EMAIL_TIMEOUT is not set: Django would wait for
#: ever, and rescue with it.
TIMEOUT = 10
#: How many scheduled tasks one mail describes; of more it says how many.
DESCRIBED = 50
#: Failed runs are counted up to here.
COUNTED_UP_TO = 10_000


def addresses(owners: Iterable[str]) -> dict[str, str]:
    """The mail address of each owner who has one: the owner, or that of the user of this name."""
    found = {owner: owner for owner in owners if _is_address(owner)}
    return found | _of_users([owner for owner in owners if owner and owner not in found])


def _of_users(names: list[str]) -> dict[str, str]:
    users = user_model()
    if users is None or not names:
        return {}
    mail_field = users.get_email_field_name()
    rows = users._default_manager.filter(**{f"{users.USERNAME_FIELD}__in": names})
    mails = {user.get_username(): getattr(user, mail_field, "") for user in rows if user.is_active}
    return {name: mail for name, mail in mails.items() if _is_address(mail or "")}


def _is_address(text: str) -> bool:
    try:
        validate_email(text)
    except ValidationError:
        return False
    return True


def mailer() -> Any:
    """The connection that the project's settings name, which does not wait for ever."""
    connection: Any = get_connection()
    if getattr(connection, "timeout", TIMEOUT) is None:
        connection.timeout = TIMEOUT
    return connection


def letter(address: str, rows: list[Failing], connection: Any) -> EmailMessage:
    """One mail about all of them, in the language of the project."""
    with translation.override(settings.LANGUAGE_CODE):
        return EmailMessage(
            subject=_subject(rows),
            body=_body(rows),
            to=[address],
            connection=connection,
            headers={"Auto-Submitted": "auto-generated"},
        )


def _subject(rows: list[Failing]) -> str:
    if len(rows) == 1:
        return _headline(rows[0])
    recovered = sum(row.recovered_at is not None for row in rows)
    failing = len(rows) - recovered
    fail = ngettext("%(n)d scheduled task fails", "%(n)d scheduled tasks fail", failing)
    work = ngettext(
        "%(n)d scheduled task works again", "%(n)d scheduled tasks work again", recovered
    )
    parts = [fail % {"n": failing}] * bool(failing) + [work % {"n": recovered}] * bool(recovered)
    return _(", ").join(parts)


def _headline(row: Failing) -> str:
    """What is new, in one line."""
    if row.recovered_at is not None:
        text = _("“%(name)s” works again")
    elif row.told_at is not None:
        text = _("“%(name)s” is paused after its failures")
    else:
        text = _("“%(name)s” started failing")
    return text % {"name": " ".join(row.scheduled_task.name.split())}


def _body(rows: list[Failing]) -> str:
    described = sorted(rows, key=lambda row: (row.recovered_at is not None, row.since))[:DESCRIBED]
    runs = TaskRun.objects.defer("args", "kwargs", "result", "traceback").in_bulk(
        [row.run_id for row in described]
    )
    parts = ["\n".join(_description(row, runs.get(row.run_id))) for row in described]
    if len(rows) > DESCRIBED:
        parts.append(_("And %(n)d more.") % {"n": len(rows) - DESCRIBED})
    parts.append(_("You are named as the owner of what this mail is about."))
    return "\n\n".join(parts) + "\n"


def _description(row: Failing, run: TaskRun | None) -> list[str]:
    task = row.scheduled_task
    lines = [_("%(headline)s.") % {"headline": _headline(row)}]
    if row.recovered_at is not None:
        times = {"since": _time(row.since, task), "until": _time(row.recovered_at, task)}
        lines.append(_("It failed from %(since)s until %(until)s.") % times)
        lines.append(_failed_runs(row))
    else:
        lines.append(_("It fails since %(time)s.") % {"time": _time(row.since, task)})
        lines += _what_went_wrong(run, task)
        if not task.enabled:
            lines.append(state_reason_text(task))
    return [*filter(None, lines), *_link(row, run)]


def _time(moment: datetime, task: ScheduledTask) -> str:
    return moment_text(moment, task.timezone)


def _failed_runs(row: Failing) -> str:
    runs = TaskRun.objects.filter(scheduled_task=row.scheduled_task_id, status__in=BAD)
    count = runs.filter(finished_at__gte=row.since).order_by()[:COUNTED_UP_TO].count()
    text = ngettext("%(n)d run failed or was lost.", "%(n)d runs failed or were lost.", count)
    return text % {"n": count}


def _what_went_wrong(run: TaskRun | None, task: ScheduledTask) -> list[str]:
    if run is None:
        return []
    said = run.exception.strip().splitlines()
    return [
        _("The run of %(time)s: %(reason)s")
        % {
            "time": _time(run.scheduled_for, task),
            "reason": describe(run.reason, run.reason_params),
        },
        said[-1][:500] if said else "",
    ]


def _link(row: Failing, run: TaskRun | None) -> list[str]:
    """A page of the admin, where the project says at which address it is: SITE_URL."""
    site = getattr(settings, "SITE_URL", "")
    if not site:
        return []
    try:
        if run is None or row.recovered_at is not None:
            page = reverse("admin:scheduling_scheduledtask_change", args=[row.scheduled_task_id])
        else:
            page = reverse("admin:dispatcher_taskrun_change", args=[run.pk])
    except NoReverseMatch:  # without the admin there is nothing to link to
        return []
    return [site.rstrip("/") + page]

"""The pages of the admin: where they are, rows to look at, and what a browser would send."""

from datetime import UTC, datetime, timedelta

from django.contrib.messages import get_messages
from django.urls import reverse

from dispatcher.models import TaskRun
from scheduling.models import ScheduledTask

ADD = "tests.integration.tasks_app.tasks.add"
OK = "tests.integration.tasks_app.tasks.ok"

LIST = "/admin/scheduling/scheduledtask/"
ADD_PAGE = f"{LIST}add/"
RUNS = "/admin/dispatcher/taskrun/"

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
VIEW = "view_scheduledtask"

#: A form that is complete and right.
GOOD = {"name": "job", "task": OK, "kind": "interval", "interval_seconds": "60"}


def page_of(row):
    return reverse(f"admin:{row._meta.label_lower.replace('.', '_')}_change", args=[row.pk])


def interval(name="job", every=3600, task=OK, **options):
    return ScheduledTask.objects.create_interval(name, task, every, **options)


def cron(name="job", expression="0 9 * * *", task=OK, **options):
    return ScheduledTask.objects.create_cron(name, task, expression, **options)


def as_shown(response):
    """What a browser would send back if nobody touched the form of the page."""
    data = {}
    for field in response.context["adminform"].form:
        value = field.value()
        if hasattr(field.field.widget, "decompress"):
            parts = value if isinstance(value, list) else field.field.widget.decompress(value)
            data |= {f"{field.name}_{i}": part or "" for i, part in enumerate(parts)}
        elif value is True:
            data[field.name] = "on"
        elif value is not False:
            data[field.name] = "" if value is None else value
    return data


def submit(client, page, **changes):
    return client.post(page, as_shown(client.get(page)) | changes, follow=True)


def field_errors(response):
    """The fields that complain, after a refused form; empty when it was saved."""
    context = response.context
    if "adminform" not in context or response.redirect_chain:
        return {}
    return {name: list(errors) for name, errors in context["adminform"].form.errors.items()}


def messages_of(response):
    return [str(message) for message in get_messages(response.wsgi_request)] or [
        str(message) for message in response.context["messages"]
    ]


def act(client, action, *tasks, **answers):
    """Choose the action, and say yes to its question."""
    chosen = [task.pk for task in tasks]
    data = {"action": action, "_selected_action": chosen, "confirmed": "1", **answers}
    return client.post(LIST, data, follow=True)


def job(name="job", task=OK, **options):
    return interval(name, task=task, **options)


def make_run(task=None, status="succeeded", at=NOW, task_name=OK, **columns):
    """A run as the stages would have left it."""
    started = None if status in ("planned", "published", "missed", "skipped") else at
    ended = status not in ("planned", "published", "running", "retrying")
    defaults = {
        "scheduled_task": task,
        "name": task.name if task else "loose",
        "task": task_name,
        "revision": task and task.revision,
        "status": status,
        "scheduled_for": at,
        "start_at": at,
        "planned_at": at - timedelta(seconds=60),
        "started_at": started and started + timedelta(milliseconds=120),
        "finished_at": at + timedelta(seconds=3.62) if ended else None,
        "attempt": 1 if started else 0,
    }
    return TaskRun.objects.create(**defaults | columns)

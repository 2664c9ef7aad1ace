"""A clock of a test's own for edits, ticks and workers, and short words for rows and reports."""

from datetime import timedelta

from dispatcher.models import Status, TaskRun
from dispatcher.tick import tick
from dispatcher.verify import verify
from scheduling.models import ScheduledTask

OK = "tests.integration.tasks_app.tasks.ok"
S = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


class Clock:
    """The database's time as the edits and the ticks of a test see it."""

    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now

    def tick(self):
        tick(self.now)
        self.work()

    def pass_(self, delta, every=MINUTE):
        """Let time go by, with ticks and workers."""
        end = self.now + delta
        while self.now < end:
            self.now = min(self.now + every, end)
            self.tick()

    def work(self):
        """Workers: what is due has run."""
        due = TaskRun.objects.unstarted().filter(start_at__lte=self.now)
        due.update(status=Status.SUCCEEDED, started_at=self.now, finished_at=self.now)

    def verify(self, **options):
        return verify(now=self.now, **options)


def interval(name="job", every=60, **options):
    return ScheduledTask.objects.create_interval(name, OK, every, queue="verify", **options)


def cron(name="job", expression="* * * * *", **options):
    return ScheduledTask.objects.create_cron(name, OK, expression, queue="verify", **options)


def runs(task):
    return TaskRun.objects.filter(scheduled_task=task).order_by("slot")


def counts(report):
    return {kind: count for kind, count in report.counts.items() if count}


def only(report, kind):
    assert counts(report).keys() == {kind}
    (finding,) = report.listed[kind]
    return finding

"""`manage.py withdraw_run`: end one run, and take its messages out of the broker."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from dispatcher.models import TaskRun
from dispatcher.publish.broker import connection_errors
from dispatcher.publish.withdrawal import withdraw
from dispatcher.runs import cancel


class Command(BaseCommand):
    help = "Cancel a run that has not ended, and take its messages out of the broker."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run", type=UUID, help="the id of the run, header run_id of a message")
        parser.add_argument("--queue", help="the queue, where the run's row is gone")

    def handle(self, *args: Any, **options: Any) -> None:
        run = TaskRun.objects.filter(pk=options["run"]).first()
        queue = options["queue"] or (run.queue if run else None)
        if queue is None:
            raise CommandError("There is no such run. Name the queue with --queue.")
        if run is not None and cancel(run, by="withdraw_run"):
            self.stdout.write(f"Run {run.pk} is cancelled.")
        try:
            count = withdraw(options["run"], queue)
        except connection_errors() as error:
            raise CommandError(f"The broker does not answer: {error}") from error
        self.stdout.write(f"{count} messages were taken out of the queue {queue}.")

"""`manage.py tick`: one pass of the scheduler, or one a minute without beat."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from dispatcher.tick import ClockError, rescue_pass, tick
from dispatcher.worker import connections
from dispatcher.worker.gate import DATABASE_ERRORS


class Command(BaseCommand):
    help = "Plan and publish what is due, once; with --loop every minute, in place of beat."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--loop", action="store_true", help="go on, every full minute")

    def handle(self, *args: Any, **options: Any) -> None:
        self._pass()
        while options["loop"]:
            time.sleep(20 - time.time() % 20)
            try:
                connections.replace_dead()
                rescue_pass()
                if time.time() % 60 < 20:
                    self._pass()
            except (ClockError, *DATABASE_ERRORS) as error:
                self.stderr.write(f"No tick, tried again in 20 s: {error}")

    def _pass(self) -> None:
        done = tick()
        self.stdout.write(
            f"{done.planned} planned, {done.published} published, {done.missed} missed, "
            f"{done.set_aside} set aside"
        )
        if done.error:
            self.stderr.write(done.error)

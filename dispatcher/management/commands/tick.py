"""`manage.py tick`: one pass of the scheduler, or one a minute without beat."""

import time
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand

from dispatcher.tick import rescue_pass, tick
from dispatcher.worker import connections

#: Seconds between two looks at the clock, and between two rescue passes that do not take longer.
STEP = 20


class Command(BaseCommand):
    help = "Plan and publish what is due, once; with --loop every minute, in place of beat."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--loop", action="store_true", help="go on, every full minute")

    def handle(self, *args: Any, **options: Any) -> None:
        ticked = _minute()
        self._pass()
        while options["loop"]:
            time.sleep(STEP - time.time() % STEP)
            # By the minute that was ticked last, not by the second that it is: a rescue pass may
            # take longer than a minute's first third.
            if _minute() != ticked:
                ticked = _minute()
                self._try(self._pass)
            self._try(rescue_pass)

    def _try(self, step: Callable[[], Any]) -> None:
        """A step that fails is told, and tried again: whatever it was must not end the loop."""
        try:
            connections.replace_dead()
            step()
        except Exception as error:
            self.stderr.write(f"{type(error).__name__}: {error}. Tried again in {STEP} s or so.")

    def _pass(self) -> None:
        done = tick()
        self.stdout.write(
            f"{done.planned} planned, {done.published} published, {done.missed} missed, "
            f"{done.set_aside} set aside"
        )
        if done.error:
            self.stderr.write(done.error)


def _minute() -> int:
    return int(time.time() // 60)

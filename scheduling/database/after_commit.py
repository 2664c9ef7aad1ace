"""What follows a change once it is committed, and cannot undo it any more."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

from django.db import transaction

P = ParamSpec("P")


def after_commit(function: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call it when the transaction is committed. What it raises is logged, and keeps neither the
    caller nor what else waits for the commit.

    Not a `partial`: Django writes the `__qualname__` of what failed into its log, and where there
    is none, raises for that.
    """

    @functools.wraps(function)
    def call() -> None:
        function(*args, **kwargs)

    transaction.on_commit(call, robust=True)

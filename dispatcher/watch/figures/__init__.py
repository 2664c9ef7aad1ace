"""The figures that the overview shows. Each question is bounded, however many rows there are.

Which index serves which question:

    outcomes                 (status, id): run ids grow with time, so an hour is a range of ids
    lateness, running        (status, id), the newest or the oldest n of a status
    failing                  its own small table, then (scheduled task, id) for each row shown
    waiting                  (status, id), the oldest n
    set_aside                (enabled, next_run_at): a row that is set aside has no next_run_at
    upcoming                 (publish_at) for what is planned, (enabled, next_run_at) for the rest
    last_tick, dispatchers   (kind, started_at)
    workers                  (lease_until)
"""

from dispatcher.watch.figures.ahead import DOTS, Upcoming, upcoming
from dispatcher.watch.figures.alive import Depth, depths, dispatchers, last_tick, workers
from dispatcher.watch.figures.attention import Failed, failing, set_aside
from dispatcher.watch.figures.ended import OUTCOMES, Hour, Lateness, lateness, outcomes, percentile
from dispatcher.watch.figures.limits import BACKLOG_AGE, HOUR, HOUR_LIMIT, SAMPLE, SHOWN, TICK_LIMIT
from dispatcher.watch.figures.open_runs import Listed, Waiting, running, waiting

__all__ = [
    "BACKLOG_AGE",
    "DOTS",
    "HOUR",
    "HOUR_LIMIT",
    "OUTCOMES",
    "SAMPLE",
    "SHOWN",
    "TICK_LIMIT",
    "Depth",
    "Failed",
    "Hour",
    "Lateness",
    "Listed",
    "Upcoming",
    "Waiting",
    "depths",
    "dispatchers",
    "failing",
    "last_tick",
    "lateness",
    "outcomes",
    "percentile",
    "running",
    "set_aside",
    "upcoming",
    "waiting",
    "workers",
]

"""What ran in the last day, how late, and what is running now."""

from datetime import datetime
from typing import Any

from dispatcher.admin.kit import charts
from dispatcher.admin.kit.charts import clock
from dispatcher.admin.kit.html import run_url
from dispatcher.admin.overview.spans import between
from dispatcher.models import Status
from dispatcher.watch import figures
from scheduling.words import duration_text


def context(now: datetime) -> dict[str, Any]:
    hours = figures.outcomes(charts.hour_start(now, 24))
    labels = [clock(hour.start) for hour in hours]
    totals = {
        status.value: (
            sum(hour.counts[status] for hour in hours),
            any(hour.counts[status] >= figures.HOUR_LIMIT for hour in hours),
        )
        for status in figures.OUTCOMES
    }
    late, running = figures.lateness(now), figures.running()
    return {
        "bars": charts.bars(hours, labels),
        "highest": max(hour.total for hour in hours),
        "hour_labels": labels,
        "capped": any(hour.is_capped for hour in hours),
        "hour_limit": figures.HOUR_LIMIT,
        "legend": [(s, Status(s).label, n, more) for s, (n, more) in totals.items()],
        "total": sum(n for n, _more in totals.values()),
        "table": [
            (label, [hour.counts[status] for status in figures.OUTCOMES])
            for label, hour in zip(labels, hours, strict=True)
        ][::-1],
        "late": late,
        "late_since": clock(late.since) if late.since else "",
        "late_values": [
            (name, duration_text(value))
            for name, value in (("p50", late.p50), ("p95", late.p95), ("p99", late.p99))
            if value is not None
        ],
        "running": running,
        "running_rows": [
            (run_url(run.pk), run, between(now, run.started_at) if run.started_at else "")
            for run in running.rows
        ],
    }

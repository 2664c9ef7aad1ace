"""How long a page of the admin takes with 100,000 scheduled tasks and 1,000,000 runs.

    python -m benchmarks.pages

Through Django's test client, in this process: middleware, queries and templates, no network. Each
page is visited twice to warm up, and then `--visits` times.
"""

import argparse
import json
import os
import statistics
import sys
import time
from typing import Any

from benchmarks import services

#: What a page may take (milliseconds).
LIMIT = 300
WARM_UP = 2


def main() -> None:
    options = _options()
    with services.broker() as broker, services.database("pages") as database:
        _set_up(database, broker)
        from benchmarks import pages_data

        started = time.perf_counter()
        rows = pages_data.fill(options.tasks, options.runs)
        report: dict[str, Any] = {
            "machine": services.machine(database, broker, ("Django", "psycopg")),
            "rows": {"scheduled tasks": options.tasks, "runs": options.runs},
            "seconds to fill": round(time.perf_counter() - started),
            "pages": measure(pages_data.pages(rows), options.visits),
        }
        report["machine"]["load average after"] = os.getloadavg()[0]
    print(json.dumps(report, indent=2) if options.json else "\n".join(lines(report)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages")
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--visits", type=int, default=15, help="of each page, after two more")
    parser.add_argument("--json", action="store_true", help="all figures, to standard output")
    return parser.parse_args()


def _set_up(database: str, broker: str) -> None:
    """Django with the settings of production, but for the names of static files."""
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "ENV_FILE": os.devnull,
        "SECRET_KEY": "only-for-the-benchmark",
        "ALLOWED_HOSTS": "testserver",
        "SECURE_COOKIES": "false",
        "DATABASE_URL": database,
        "CELERY_BROKER_URL": broker,
        "LOG_LEVEL": "WARNING",
    }
    import django
    from django.conf import settings
    from django.core.management import call_command

    # Hashed names exist only after collectstatic.
    settings.STORAGES["staticfiles"]["BACKEND"] = (
        "django.contrib.staticfiles.storage.StaticFilesStorage"
    )
    django.setup()
    call_command("migrate", verbosity=0)


def measure(pages: dict[str, str], visits: int) -> list[dict[str, Any]]:
    """Milliseconds of each page: the least, which other work on the machine disturbs least, the
    median, and what 95 of 100 visits did not exceed."""
    from django.contrib.auth import get_user_model
    from django.test import Client

    client = Client()
    client.force_login(get_user_model().objects.create_superuser("admin"))
    found = []
    for name, address in pages.items():
        print(f"\r\033[K{name} …", end="", file=sys.stderr, flush=True)
        every = [_visit(client, address) for _n in range(visits + WARM_UP)]
        times = sorted(every[WARM_UP:])
        late = times[max(-(-len(times) * 95 // 100) - 1, 0)]
        figures = {"least": times[0], "median": statistics.median(times), "p95": late}
        figures["load"] = os.getloadavg()[0]
        found.append({"page": name, **figures, "all": times})
    print(file=sys.stderr)
    return found


def _visit(client: Any, address: str) -> float:
    started = time.perf_counter()
    response = client.get(address)
    took = (time.perf_counter() - started) * 1000
    if response.status_code != 200:
        raise SystemExit(f"Not a measurement: {address} answers {response.status_code}")
    return took


_ROW = "{:<44} {:>8} {:>8} {:>8} {:>6}  {}"


def lines(report: dict[str, Any]) -> list[str]:
    found = [f"{name}: {value}" for name, value in report["machine"].items()]
    found += [f"{name}: {number:,}" for name, number in report["rows"].items()]
    found += [
        "",
        _ROW.format(f"milliseconds (limit {LIMIT})", "least", "median", "p95", "load", ""),
    ]
    for row in report["pages"]:
        over = "" if row["p95"] <= LIMIT else "over" if row["median"] > LIMIT else "p95 over"
        times = [f"{row[key]:.0f}" for key in ("least", "median", "p95")]
        figures = (*times, f"{row['load']:.1f}", over)
        found.append(_ROW.format(row["page"], *figures).rstrip())
    return found


if __name__ == "__main__":
    main()

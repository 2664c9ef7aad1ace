"""The pages of the admin that are ours, by what they are."""

from urllib.parse import quote

from django.urls import reverse

from dispatcher.models import Tick, Worker
from scheduling.stop import Stop
from tests.browser.board import Board

TASKS = "/admin/scheduling/scheduledtask/"
RUNS = "/admin/dispatcher/taskrun/"
TOKENS = "/admin/scheduling_api/apitoken/"
OF_A_TASK = ("change", "history", "run", "skip", "pause", "backfill", "duplicate", "delete", "runs")


def addresses(board: Board) -> dict[str, str]:
    """Each address that can be opened as it is; what only a POST shows is not among them."""
    backup, orders = (f"{TASKS}{board.tasks[key].pk}/" for key in ("backup", "orders"))
    runs = {f"run {key}": f"{RUNS}{run.pk}/change/" for key, run in board.runs.items()}
    token = f"{TOKENS}{board.token.pk}/"
    failed, running = (f"{RUNS}{board.runs[key].pk}/" for key in ("failed", "running"))
    return {
        "start": "/admin/",
        "overview": reverse("admin:dispatcher_overview"),
        "list": TASKS,
        "list, filtered": f"{TASKS}?state=active&last_status=failed&owner=ada&kind__exact=cron",
        "list, searched": f"{TASKS}?q=orders",
        "list, empty": f"{TASKS}?q=nothing-of-that-name",
        "add": f"{TASKS}add/",
        **{f"task {page}": f"{orders}{page}/" for page in OF_A_TASK},
        "task set aside": f"{TASKS}{board.tasks['ledger'].pk}/change/",
        "task paused": f"{TASKS}{board.tasks['rates'].pk}/change/",
        "task finished": f"{TASKS}{board.tasks['old'].pk}/change/",
        "task with a slot skipped": f"{backup}change/",
        "history with changes": f"{backup}history/",
        "unskip": f"{backup}unskip/?slot={quote(board.tasks['backup'].skip_slots[0])}",
        "import": f"{TASKS}import/",
        "export": f"{TASKS}export/",
        "stop": reverse("admin:scheduling_stop_pause"),
        "stops": reverse("admin:scheduling_stop_changelist"),
        "a stop": reverse("admin:scheduling_stop_change", args=[Stop.objects.get().pk]),
        "runs": RUNS,
        "runs, filtered": f"{RUNS}?status__exact=failed&since=day",
        **runs,
        "cancel": f"{running}cancel/",
        "rerun": f"{failed}rerun/",
        "rerun with other arguments": f"{failed}rerun/?arguments",
        "workers": reverse("admin:dispatcher_worker_changelist"),
        "a worker": reverse("admin:dispatcher_worker_change", args=[Worker.objects.first().pk]),
        "ticks": reverse("admin:dispatcher_tick_changelist"),
        "a tick": reverse("admin:dispatcher_tick_change", args=[Tick.objects.first().pk]),
        "tokens": TOKENS,
        "token add": f"{TOKENS}add/",
        **{f"token {page}": f"{token}{page}/" for page in ("change", "history", "revoke")},
    }

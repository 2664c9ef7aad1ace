"""The admin of what keeps the clock: ticks and workers."""

from django.contrib import admin
from django.utils.translation import gettext_lazy

from dispatcher.admin.kit.html import moment_span
from dispatcher.admin.kit.read_only import CappedPaginator, ReadOnlyAdmin
from dispatcher.models import Tick, Worker
from scheduling.words import duration_text


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = ("hostname", "pid", "pool", "concurrency", "began", "seen", "ended")
    search_fields = ("hostname",)
    fields = (
        "hostname",
        "pid",
        "pool",
        "concurrency",
        "queues",
        "tasks",
        "clock_offset",
        "began",
        "seen",
        "ended",
        "id",
    )

    @admin.display(description=gettext_lazy("started"), ordering="started_at")
    def began(self, worker: Worker) -> str:
        return moment_span(worker.started_at)

    @admin.display(description=gettext_lazy("last seen"), ordering="seen_at")
    def seen(self, worker: Worker) -> str:
        return moment_span(worker.seen_at)

    @admin.display(description=gettext_lazy("stopped"), ordering="stopped_at")
    def ended(self, worker: Worker) -> str:
        return moment_span(worker.stopped_at)


_COUNTS = ("planned", "published", "missed", "set_aside", "lost")


@admin.register(Tick)
class TickAdmin(ReadOnlyAdmin):
    list_display = ("began", "kind", "took", *_COUNTS)
    list_filter = ("kind",)
    paginator = CappedPaginator
    fields = ("kind", "began", "took", "dispatcher", *_COUNTS, "error")

    @admin.display(description=gettext_lazy("started"), ordering="started_at")
    def began(self, tick: Tick) -> str:
        return moment_span(tick.started_at)

    @admin.display(description=gettext_lazy("duration"))
    def took(self, tick: Tick) -> str:
        return duration_text(tick.finished_at - tick.started_at) if tick.finished_at else "–"

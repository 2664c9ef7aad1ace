from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DispatcherConfig(AppConfig):
    name = "dispatcher"
    verbose_name = _("Dispatcher")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from dispatcher.follow_edits import follow
        from dispatcher.tasks import tick_soon
        from dispatcher.watch import checks, setup_checks  # noqa: F401  (register themselves)
        from scheduling.database.routing import read_where_written
        from scheduling.signals import everything_resumed, schedule_changed

        read_where_written(self.label)
        schedule_changed.connect(follow, dispatch_uid="dispatcher.follow")
        everything_resumed.connect(tick_soon, dispatch_uid="dispatcher.tick_soon")

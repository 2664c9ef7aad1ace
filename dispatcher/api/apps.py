from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ApiConfig(AppConfig):
    """Optional: the schedules run without it. It brings the tables of the API's tokens."""

    name = "dispatcher.api"
    label = "scheduling_api"
    verbose_name = _("API")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from scheduling.database.routing import read_where_written

        read_where_written(self.label)

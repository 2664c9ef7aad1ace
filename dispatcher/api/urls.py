"""All of the API. For an existing project: `path("api/", include("dispatcher.api.urls"))`."""

from django.urls import include, path, re_path
from rest_framework.routers import SimpleRouter

from dispatcher.api.description import DocsView, SchemaView
from dispatcher.api.scheduled_tasks import DispatchedTaskViewSet
from dispatcher.api.views import RunViewSet
from scheduling.api.missing import missing
from scheduling.api.registry_views import RegistryViewSet

router = SimpleRouter()
router.register("scheduled-tasks", DispatchedTaskViewSet, basename="scheduled-task")
router.register("tasks", RegistryViewSet, basename="task")
runs = SimpleRouter(use_regex_path=False)
runs.register("runs", RunViewSet, basename="run")

app_name = "minutehand_api"
urlpatterns = [
    path("v1/", include([*router.urls, *runs.urls])),
    path("schema/", SchemaView.as_view(), name="schema"),
    path("docs/", DocsView.as_view(), name="docs"),
    re_path("^v1/.*$", missing),
]

"""Addresses of the API. In an existing project: `path("api/", include("dispatcher.api.urls"))`."""

from django.urls import include, path, re_path
from rest_framework.routers import SimpleRouter

from dispatcher.api.kernel.missing import missing
from dispatcher.api.openapi.description import DocsView, SchemaView
from dispatcher.api.registry.views import RegistryViewSet
from dispatcher.api.runs.views import RunViewSet
from dispatcher.api.tasks.views import ScheduledTaskViewSet

router = SimpleRouter()
router.register("scheduled-tasks", ScheduledTaskViewSet, basename="scheduled-task")
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

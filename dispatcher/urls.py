"""The addresses of all faces. For an existing project: `path("", include("dispatcher.urls"))`."""

from django.urls import path

from dispatcher.watch import pages

app_name = "dispatcher"
urlpatterns = [
    path("healthz", pages.healthz, name="healthz"),
    path("metrics", pages.metrics, name="metrics"),
]

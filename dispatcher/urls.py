"""For an existing project: `path("", include("dispatcher.urls"))`."""

from django.urls import path

from dispatcher import views

app_name = "dispatcher"
urlpatterns = [
    path("healthz", views.healthz, name="healthz"),
    path("metrics", views.metrics, name="metrics"),
]

from django.apps import AppConfig


class TasksAppConfig(AppConfig):
    name = "tests.integration.tasks_app"
    label = "tasks_app"

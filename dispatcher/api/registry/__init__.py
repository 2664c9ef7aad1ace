"""The API of the Celery tasks that can be scheduled."""

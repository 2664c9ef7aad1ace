"""The project's settings with two quorum queues. Celery delays messages in RabbitMQ for the one
with a topic exchange, and in the worker for the other."""

from kombu import Exchange, Queue

from project.settings import *  # noqa: F403

QUORUM = {"x-queue-type": "quorum"}
CELERY_TASK_QUEUES = [
    Queue("topical", Exchange("topical", "topic"), "topical", queue_arguments=QUORUM),
    Queue("direct", Exchange("direct", "direct"), "direct", queue_arguments=QUORUM),
]

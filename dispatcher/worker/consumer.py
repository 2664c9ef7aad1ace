"""A consumer that survives a broker restart."""

import logging

from celery.worker.consumer import Consumer

logger = logging.getLogger(__name__)


class ResilientConsumer(Consumer):
    """A consumer that reconnects where kombu's Redis transport fails to close its connection.

    With messages held for their eta, closing after a Redis restart raises AttributeError, which
    Celery takes for its own bug and exits. The connection is gone either way.
    """

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        try:
            super().on_connection_error_after_connected(exc)
        except AttributeError:
            logger.warning(
                "The broker connection could not be closed cleanly; connecting again",
                exc_info=True,
                extra={"action": "broker_reconnect"},
            )
            self.connection = None

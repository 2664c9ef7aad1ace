"""A consumer that survives a broker restart, and tells of messages that it cannot take."""

import logging
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.utils.imports import symbol_by_name
from celery.worker.consumer import Consumer

logger = logging.getLogger(__name__)


if TYPE_CHECKING:
    _Consumer = Consumer
else:
    _Consumer = object


class SurvivesRestart(_Consumer):
    """Mixed into a consumer: reconnects where kombu's Redis transport fails to close.

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

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Replace Celery's handler, which would log the body and the secrets in it."""
        if not self._refuse(message, exc):
            super().on_invalid_task(body, message, exc)  # a mixin

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Replace Celery's handler, which tells nobody: the run would be sent again for ever."""
        if not self._refuse(message, exc):
            super().on_decode_error(message, exc)  # a mixin

    def _refuse(self, message: Any, exc: Exception) -> bool:
        """Drop the message of a run, and let the listeners of `task_rejected` end the run; whether
        it is one of a run."""
        from dispatcher.worker.gate import run_id_of  # imports models: not before a worker starts

        run_id = run_id_of(dict(message.headers or {}))
        if run_id is None:
            return False
        logger.error(
            "The message of run %s is refused: %s",
            run_id,
            type(exc).__name__,
            extra={"action": "message_refused", "run": str(run_id)},
        )
        consumer: Any = self
        message.reject_log_error(logger, consumer.connection_errors)
        signals.task_rejected.send(sender=self, message=message, exc=exc)
        return True


class ResilientConsumer(SurvivesRestart, Consumer):
    """Celery's consumer, which survives."""


def resilient(consumer: Any) -> type:
    """A subclass of the project's own consumer (a class or its path), which survives."""
    base: type = symbol_by_name(consumer)
    if issubclass(base, SurvivesRestart):
        return base
    return type(f"Resilient{base.__name__}", (SurvivesRestart, base), {})

"""No more requests than that in a minute, for each token, or each user with a session.

Counted in the project's cache, in windows of one minute. A cache that several web processes share
makes the limit one for all of them; a cache that is away stops nobody.
"""

import logging
import time
from typing import Any

from django.core.cache import cache
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from scheduling.conf import API_CHANGES_PER_MINUTE, API_READS_PER_MINUTE, Setting

logger = logging.getLogger(__name__)

WINDOW = 60  # seconds


class PerMinute(BaseThrottle):
    def allow_request(self, request: Request, view: Any) -> bool:
        limit = _limit_of(request)
        self.now = time.time()
        return limit.value <= 0 or _count(_key(request, limit, self.now)) <= limit.value

    def wait(self) -> float:
        """Seconds until the next window."""
        return WINDOW - self.now % WINDOW


def _limit_of(request: Request) -> Setting:
    return API_READS_PER_MINUTE if request.method in SAFE_METHODS else API_CHANGES_PER_MINUTE


def _key(request: Request, limit: Setting, now: float) -> str:
    token = getattr(request.auth, "pk", None)
    who = f"user-{request.user.pk}" if token is None else f"token-{token}"
    return f"minutehand-api:{limit.name}:{who}:{int(now // WINDOW)}"


def _count(key: str) -> int:
    try:
        cache.add(key, 0, timeout=2 * WINDOW)
        return int(cache.incr(key))
    except ValueError:  # pushed out of the cache between the two
        return 1
    except Exception:
        logger.exception("The cache does not count", extra={"action": "api_uncounted"})
        return 0

"""What a `SCHEDULER_*` setting is, and those of this app and the REST API; `dispatcher/conf.py` has
all of them.

A Django project sets them in its settings; this repository's own reads them from the environment.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Setting:
    """A whole number with a default, a unit and a reason; `value` is what is in force now."""

    name: str
    default: int
    unit: str
    reason: str

    def from_environment(self, env: Any) -> int:
        """The value from a django-environ `Env`; `ImproperlyConfigured` if it is not a number."""
        return int(env.int(self.name, default=self.default))

    @property
    def value(self) -> int:
        from django.conf import settings

        return int(getattr(settings, self.name, self.default))


API_READS_PER_MINUTE = Setting(
    "SCHEDULER_API_READS_PER_MINUTE",
    1200,
    "requests",
    "How many reads a token, or a user with a session, may make in a minute; 0 is no limit.",
)
API_CHANGES_PER_MINUTE = Setting(
    "SCHEDULER_API_CHANGES_PER_MINUTE",
    600,
    "requests",
    "How many other requests, each of which may start work, in a minute; 0 is no limit.",
)

ARGUMENTS_KIB = Setting(
    "SCHEDULER_ARGUMENTS_KIB",
    64,
    "KiB",
    "How large the arguments of a run may be as JSON: a broker and each worker hold many of them.",
)

SETTINGS = (ARGUMENTS_KIB, API_READS_PER_MINUTE, API_CHANGES_PER_MINUTE)

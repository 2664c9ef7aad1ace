"""Every `SCHEDULER_*` setting: name, default, unit and the reason to change it. The only such list.

A Django project sets them in its settings; this repository's own reads them from the environment.
"""

from scheduling.conf import SETTINGS as SCHEDULING_SETTINGS
from scheduling.conf import Setting

RUN_RETENTION_DAYS = Setting(
    "SCHEDULER_RUN_RETENTION_DAYS",
    30,
    "days",
    "How long runs that ended well are kept. A schedule every 5 s makes 518,400 rows in 30 days.",
)
FAILURE_RETENTION_DAYS = Setting(
    "SCHEDULER_FAILURE_RETENTION_DAYS",
    90,
    "days",
    "How long failed, lost and missed runs are kept: people look for them later.",
)
TICK_RETENTION_DAYS = Setting(
    "SCHEDULER_TICK_RETENTION_DAYS",
    7,
    "days",
    "How long the record of ticks, rescue passes and stopped workers is kept.",
)
RUN_LOG_KIB = Setting(
    "SCHEDULER_RUN_LOG_KIB",
    64,
    "KiB",
    "How much of what a run logs is kept with it, the newest lines; 0 keeps nothing.",
)
# Of a project's settings for its tests; no environment decides it, so it is not in the list below.
PUBLISH_IN_TESTS = Setting(
    "SCHEDULER_PUBLISH_IN_TESTS",
    0,
    "0 or 1",
    "Whether messages are sent under Django's test runner, too; else runs stay planned there.",
)

SETTINGS = (
    RUN_RETENTION_DAYS,
    FAILURE_RETENTION_DAYS,
    TICK_RETENTION_DAYS,
    RUN_LOG_KIB,
    *SCHEDULING_SETTINGS,
)

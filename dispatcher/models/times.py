"""How far ahead the stages look, and how long each of them waits."""

from datetime import timedelta

#: How far ahead a tick plans and publishes: one tick and a margin.
HORIZON = timedelta(seconds=90)
#: How long a publisher has to send what it took.
PUBLISH_LEASE = timedelta(seconds=30)
#: How long after its start a published run may wait before rescue looks at it.
UNSTARTED_GRACE = timedelta(seconds=30)
#: The longest distance between two rescues of the same run.
RESCUE_CEILING = timedelta(minutes=15)

#: How long a worker's word holds for a run. Three renewals (every 10 s) may fail before it breaks.
LEASE = timedelta(seconds=45)
#: How long its word holds for itself and for what it has received. Two words (every 3 s) may fail;
#: a mistake costs messages that are sent twice, and no run.
WORKER_LEASE = timedelta(seconds=10)
#: A longer pause between rescue passes means that nobody could renew or judge.
RESCUE_GAP = timedelta(seconds=60)

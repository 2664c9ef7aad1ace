"""Which runs this worker holds: their messages came, and their function was not called yet.

They wait in the memory of the main process, for their time or for a free place in the pool. Its
heart says which they are (`leases.Heart`), so that what a dead worker held is sent again at once,
what a living one holds is not sent a second time, and a stopping one hands back what it will not
start. A message too much costs one query: the gate lets only one of them start the run.
"""

import logging
import weakref
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from celery.worker import state
from celery.worker.request import Request
from django.db import transaction

from dispatcher.models import Status, TaskRun, Worker
from dispatcher.models.process import packed, unpacked
from dispatcher.models.verbs import TaskRunQuerySet
from dispatcher.plan import misfire
from dispatcher.publish import publisher
from dispatcher.publish.broker import messages_ready
from dispatcher.publish.publisher import BrokerAway
from dispatcher.worker import suspects
from dispatcher.worker.gate import run_id_of
from dispatcher.worker.suspects import SAID

logger = logging.getLogger(__name__)

#: The most runs in one word: 80 kB. What is not in it is found by rescue, 30 s after its start.
LIMIT = 5000

#: Where the broker gives out again what a dead worker had, nobody knows which messages those are:
#: they are among the oldest of its queue, so many at most.
SUSPECTED = 100

#: The runs sent again in one transaction.
SENT_AGAIN_AT_ONCE = 500

#: Requests of runs, as long as Celery keeps them.
_received: "weakref.WeakSet[Request]" = weakref.WeakSet()

#: What this worker held when it was told to stop, and has received since; None until then.
_at_stop: list[Request] | None = None

#: Those that went to others because this worker stops.
_handed_back: "weakref.WeakSet[Request]" = weakref.WeakSet()


def received(request: Request) -> None:
    """Note a message at its receipt."""
    _received.add(request)
    if _at_stop is not None:
        _at_stop.append(request)


def told_to_stop() -> None:
    """Keep what this worker holds, to be handed back: Celery forgets it within a moment, as soon
    as the consumer is closed. Waits for no lock, as a signal handler calls it."""
    global _at_stop
    _at_stop = _held()


def copy_of(requests: Any) -> list[Any]:
    """A copy of a set that another thread changes: a copy that met a change is made again."""
    while True:
        try:
            return list(requests)
        except RuntimeError:  # "Set changed size during iteration"
            continue


def held_run_ids() -> list[UUID]:
    """The runs that this worker holds, those that start next first; at most `LIMIT`."""
    return _run_ids(_held())


def _held() -> list[Request]:
    return sorted(_unstarted(r for r in copy_of(_received) if _is_kept(r)), key=_start)[:LIMIT]


def _unstarted(requests: Iterable[Request]) -> list[Request]:
    """Those that Celery has neither started nor acknowledged: refused, or given back."""
    active = {id(request) for request in copy_of(state.active_requests)}
    return [r for r in requests if id(r) not in active and not r.acknowledged]


def _run_ids(requests: list[Request]) -> list[UUID]:
    found = (run_id_of(request.request_dict) for request in requests)
    return [run_id for run_id in found if run_id is not None]


def _is_kept(request: Request) -> bool:
    """Whether Celery still means to start it: it forgets what it dropped with its connection."""
    # Celery 5.6 drops nothing with its connection, and lists no message that waits for its time.
    return not hasattr(state, "scheduled_requests") or request.id in state.requests


def _start(request: Request) -> float:
    return request.eta.timestamp() if request.eta else 0.0


def word() -> bytes:
    """What `Worker.objects.speak` stores."""
    return packed(held_run_ids())


def take_over_from_silent(now: datetime) -> int:
    """Send again what workers held whose word is broken; how many runs.

    Any number of living workers may try: `take_over` lets one of them win. If that one dies before
    it has sent them, their publishing lease runs out, and rescue finds them.
    """
    return sum(_take_over(worker, now) for worker in Worker.objects.silent())


def _take_over(worker: Worker, now: datetime) -> int:
    judged = suspects.judge(worker)
    if worker.lease_until is None or not Worker.objects.take_over(worker):
        return send_again(judged, now)
    held, count = unpacked(worker.held), 0
    known = [*judged, *held]
    try:
        suspects.suspect(held, due=worker.seen_at + SAID)
        count = _send_unsaid(worker, known, now)  # first: what is sent now would count as ready
    finally:
        count += send_again(known, now)  # nobody else knows any more that it was held
    logger.warning(
        "Worker %s is silent since %s; %d runs that it held were sent again",
        worker.hostname,
        worker.seen_at,
        count,
        extra={"action": "taken_over"},
    )
    return count


def _send_unsaid(worker: Worker, known: Collection[UUID], now: datetime) -> int:
    """Send again what it received after its last word: it is in no queue, and no living worker
    has said that it holds it. `known`: what is sent again anyway."""
    living = Worker.objects.held_by_living().union(known)
    said = TaskRun.objects.not_stopped().filter(
        status=Status.PUBLISHED, published_at__lte=now - SAID, start_at__gte=worker.seen_at - SAID
    )
    return sum(_send_missing(said.filter(queue=q), q, living, now) for q in worker.queues)


def _send_missing(rows: TaskRunQuerySet, queue: str, living: set[UUID], now: datetime) -> int:
    ready = messages_ready(queue)  # before the count: what is started in between needs none
    ids = rows.order_by("published_at", "pk").values_list("pk", flat=True)[: LIMIT + len(living)]
    unsaid = [pk for pk in ids if pk not in living]
    missing = 0 if ready is None else max(len(unsaid) - ready, 0)
    suspects.suspect(unsaid[: max(missing, SUSPECTED)])
    return send_again(unsaid[:missing], now)


def hand_back(now: datetime) -> int:
    """Send again what this worker holds and, because it stops, does not start; how many runs.

    Called again it sends what has come since: a pool of greenlets looks once a second whether it
    is told to stop, and takes messages until then, those of the first call among them.
    """
    left = [r for r in copy_of(_at_stop or ()) if r not in _handed_back]
    requests, count = _unstarted(left), 0
    for at in range(0, len(requests), SENT_AGAIN_AT_ONCE):
        part = requests[at : at + SENT_AGAIN_AT_ONCE]
        try:
            count += publisher.publish(_take(_run_ids(part), now), now)
        except BrokerAway as error:
            logger.warning("%s", error, extra={"action": "broker_away"})
            break  # at the next word
        _handed_back.update(part)
    if count:
        message = "%d runs that this worker held go to others, because it stops"
        logger.info(message, count, extra={"action": "handed_back"})
    return count


def send_again(run_ids: Collection[UUID], now: datetime) -> int:
    """Publish those of the runs that have not started, in batches, the next ones first."""
    ids = list(run_ids)
    size = SENT_AGAIN_AT_ONCE
    return sum(_send_batch(ids[at : at + size], now) for at in range(0, len(ids), size))


def _send_batch(run_ids: list[UUID], now: datetime) -> int:
    return publisher.publish_or_leave(_take(run_ids, now), now)


def _take(run_ids: list[UUID], now: datetime) -> list[TaskRun]:
    """Those of the runs that may be sent, leased for it."""
    rows = TaskRun.objects.not_stopped().filter(pk__in=run_ids)
    unanswered = rows.filter(
        status__in=(Status.PUBLISHED, Status.RETRYING), publish_at__isnull=False
    )
    with transaction.atomic():
        runs = publisher.take(unanswered)
    return misfire.decide_again(runs, now).runs

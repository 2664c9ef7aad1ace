"""Every transition of a run is one conditional UPDATE: of any number who try, one wins."""

import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction

from dispatcher.models import RunAttempt, Status, TaskRun
from dispatcher.models.claim import Claim
from dispatcher.models.ends import End
from scheduling.database import database_now
from scheduling.models import ScheduledTask

OK = "tests.integration.tasks_app.tasks.ok"
S = timedelta(seconds=1)


def make_run(task=None, **columns):
    now = database_now()
    defaults = {
        "scheduled_task": task,
        "name": "job",
        "task": OK,
        "trigger": "manual",
        "scheduled_for": now,
        "start_at": now,
        "planned_at": now,
        "publish_at": now,
        "status": "published",
    }
    return TaskRun.objects.create(**(defaults | columns))


def claim_of(run, attempt=0, retries=0, token=None):
    return Claim(
        run_id=run.pk,
        attempt=attempt,
        retries=retries,
        token=token or uuid4(),
        worker="celery@here",
        worker_uuid=uuid4(),
        pid=1,
        message_id=str(uuid4()),
    )


def claim(run, **options):
    return TaskRun.objects.claim(claim_of(run, **options))


def at_once(*actions):
    """Runs the actions in threads that start together; returns their answers in order."""
    barrier, answers, errors = threading.Barrier(len(actions)), {}, []

    def work(index, action):
        try:
            barrier.wait()
            answers[index] = action()
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(actions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    return [answers[index] for index in range(len(actions))]


@pytest.mark.django_db
@pytest.mark.parametrize("header", [0, 1])
def test_the_first_claim_starts_the_first_attempt(header):
    run = make_run()
    assert claim(run, attempt=header) is True
    run.refresh_from_db()
    assert (run.status, run.attempt, run.publish_at) == ("running", 1, None)
    assert run.lease_until - run.started_at == timedelta(seconds=45)


@pytest.mark.django_db
def test_a_second_message_of_the_same_attempt_is_vetoed():
    run = make_run()
    claim(run)
    assert claim(run) is False
    assert claim(run, attempt=1) is False


@pytest.mark.django_db
def test_a_claim_whose_answer_was_lost_is_ours_when_it_is_tried_again():
    run, token = make_run(), uuid4()
    assert claim(run, token=token) is True
    assert claim(run, token=token) is True


@pytest.mark.django_db
@pytest.mark.parametrize("status", [s for s in Status if s not in ("planned", "published")])
def test_nothing_but_an_unstarted_run_can_be_claimed_first(status):
    assert claim(make_run(status=status, attempt=0)) is False


@pytest.mark.django_db
def test_an_expired_run_is_not_started():
    assert claim(make_run(expires_at=database_now() - S)) is False
    assert claim(make_run(expires_at=database_now() + 60 * S)) is True


@pytest.mark.django_db
def test_a_run_of_an_old_revision_is_not_started():
    task = ScheduledTask.objects.create_interval("job", OK, 3600)
    run = make_run(task, trigger="schedule", slot=database_now(), revision=1)
    ScheduledTask.objects.keep(revision=2)
    assert claim(run) is False
    ScheduledTask.objects.keep(revision=1)
    assert claim(run) is True


@pytest.mark.django_db
@pytest.mark.parametrize("reason, starts", [("paused", False), ("finished", True)])
def test_the_last_run_of_a_finished_schedule_starts_and_that_of_a_paused_one_does_not(
    reason, starts
):
    task = ScheduledTask.objects.create_interval("job", OK, 3600)
    run = make_run(task, trigger="schedule", slot=database_now(), revision=1)
    ScheduledTask.objects.keep(enabled=False, state_reason=reason)
    assert claim(run) is starts


@pytest.mark.django_db
def test_a_manual_run_starts_whatever_became_of_its_schedule():
    task = ScheduledTask.objects.create_interval("job", OK, 3600)
    run = make_run(task, revision=1)
    task.pause()
    assert claim(run) is True


@pytest.mark.django_db
def test_the_tasks_own_retry_is_claimed_by_its_higher_count_and_keeps_the_attempt():
    run = make_run()
    claim(run)
    assert claim(run, attempt=0, retries=1) is True  # may come before the first try has said so
    assert claim(run, attempt=0, retries=1) is False
    run.refresh_from_db()
    assert (run.attempt, run.retries) == (1, 1)


@pytest.mark.django_db
def test_only_the_holder_of_the_token_records_the_end():
    run, token = make_run(), uuid4()
    claim(run, token=token)
    rows = TaskRun.objects.all()
    assert rows.end(run.pk, uuid4(), End(Status.FAILED)) is False
    assert rows.end(run.pk, token, End(Status.SUCCEEDED, result={"x": 1})) is True
    assert rows.end(run.pk, token, End(Status.FAILED)) is False
    run.refresh_from_db()
    assert (run.status, run.result, run.lease_until) == ("succeeded", {"x": 1}, None)


@pytest.mark.django_db
def test_a_late_end_corrects_lost_where_nothing_was_rerun():
    run, token = make_run(), uuid4()
    claim(run, token=token)
    TaskRun.objects.all().end(run.pk, token, End(Status.LOST, "lease_ran_out"))
    assert TaskRun.objects.all().end(run.pk, token, End(Status.SUCCEEDED)) is True
    run.refresh_from_db()
    assert (run.status, run.reason) == ("succeeded", "")


@pytest.mark.django_db
def test_a_next_attempt_leaves_the_earlier_one_as_a_row_and_shuts_its_process_out():
    run, token = make_run(), uuid4()
    claim(run, token=token)
    run.refresh_from_db()
    now = database_now()
    end = End(Status.FAILED, "exception", exception="ValueError: x")
    assert TaskRun.objects.all().try_again(run, end, now, now) is True
    assert TaskRun.objects.all().try_again(run, end, now, now) is False
    assert TaskRun.objects.all().end(run.pk, token, End(Status.SUCCEEDED)) is False
    run.refresh_from_db()
    assert (run.status, run.attempt, run.token) == ("retrying", 2, None)
    earlier = RunAttempt.objects.get()
    assert (earlier.attempt, earlier.status, earlier.exception) == (1, "failed", "ValueError: x")
    assert claim(run, attempt=0) is False  # the first message, delivered again
    assert claim(run, attempt=2) is True


@pytest.mark.django_db
def test_under_a_policy_that_forbids_overlap_the_second_claim_is_refused_by_the_database():
    task = ScheduledTask.objects.create_interval("job", OK, 3600, overlap_policy="skip")
    first, second = make_run(task), make_run(task)
    assert claim(first) is True
    with pytest.raises(IntegrityError):
        claim(second)


@pytest.mark.django_db
def test_a_renewal_reaches_only_the_running_runs_of_that_very_process():
    run = make_run()
    mine = claim_of(run)
    TaskRun.objects.claim(mine)
    TaskRun.objects.filter(pk=run.pk).update(lease_until=database_now())
    assert TaskRun.objects.all().renew_leases([run.pk], uuid4()) == 0
    assert TaskRun.objects.all().renew_leases([run.pk], mine.worker_uuid) == 1


class Victim:
    """The database picks the first two writes as victims of deadlocks; the third one passes."""

    def __init__(self):
        self.left = 2

    def __call__(self, execute, sql, params, many, context):
        if self.left and sql.startswith("UPDATE"):
            self.left -= 1
            raise OperationalError(1213, "Deadlock found when trying to get lock")
        return execute(sql, params, many, context)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "verb",
    [
        lambda rows, run: rows.claim(claim_of(run)),
        lambda rows, run: rows.take(database_now()),
        lambda rows, run: rows.mark_published([run.pk], 0, run.publish_at),
        lambda rows, run: rows.close(Status.CANCELLED, "by_person"),
        lambda rows, run: rows.wait(run.pk, 1),
        lambda rows, run: rows.wait_turn(),
    ],
    ids=["claim", "take", "mark_published", "close", "wait", "wait_turn"],
)
def test_a_verb_that_meets_another_writer_is_tried_three_times(verb):
    run = make_run()
    victim = Victim()
    with connection.execute_wrapper(victim):
        assert verb(TaskRun.objects.filter(pk=run.pk), run) == 1
    assert victim.left == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "verb",
    [
        lambda rows, run: rows.end(run.pk, run.token, End(Status.SUCCEEDED)),
        lambda rows, run: rows.retry_own(run.pk, run.token, run.start_at, "again"),
        lambda rows, run: rows.try_again(run, End(Status.FAILED), run.start_at, run.start_at),
        lambda rows, run: rows.cancel_running(run, "by_person"),
        lambda rows, run: rows.renew_leases([run.pk], run.worker_uuid),
    ],
    ids=["end", "retry_own", "try_again", "cancel_running", "renew_leases"],
)
def test_so_is_a_verb_of_a_running_run(verb):
    run = make_run()
    claim(run)
    run.refresh_from_db()
    victim = Victim()
    with connection.execute_wrapper(victim):
        assert verb(TaskRun.objects.filter(pk=run.pk), run) == 1
    assert victim.left == 0


@pytest.mark.django_db(transaction=True)
def test_inside_an_open_transaction_a_verb_is_not_tried_again():
    """The database has undone all that the transaction did: only its owner can begin anew."""
    run, victim = make_run(), Victim()
    with (
        pytest.raises(OperationalError),
        transaction.atomic(),
        connection.execute_wrapper(victim),
    ):
        claim(run)
    assert victim.left == 1


@pytest.mark.django_db(transaction=True)
def test_of_six_workers_that_claim_one_run_at_once_one_starts_it():
    for _ in range(20):
        run = make_run()
        answers = at_once(*[lambda run=run: claim(run) for _ in range(6)])
        assert answers.count(True) == 1


@pytest.mark.django_db(transaction=True)
def test_a_claim_and_a_pause_at_once_end_in_a_start_or_a_cancellation_never_in_both():
    for number in range(40):
        task = ScheduledTask.objects.create_interval(f"job {number}", OK, 3600)
        slot = database_now() - S
        run = make_run(task, trigger="schedule", slot=slot, scheduled_for=slot, revision=1)
        claimed, paused = at_once(
            lambda run=run: claim(run),
            lambda task=task: ScheduledTask.objects.get(pk=task.pk).pause(),
        )
        run.refresh_from_db()
        assert paused is True
        assert run.status == ("running" if claimed else "cancelled")
        # What comes after the pause has committed never starts.
        late = make_run(task, trigger="schedule", slot=database_now(), revision=1)
        assert claim(late) is False


@pytest.mark.django_db(transaction=True)
def test_two_runs_of_a_schedule_that_forbids_overlap_never_run_at_once():
    task = ScheduledTask.objects.create_interval("job", OK, 3600, overlap_policy="skip")

    def try_claim(run):
        try:
            return claim(run)
        except IntegrityError:
            return False

    for _ in range(20):
        runs = [make_run(task), make_run(task)]
        answers = at_once(*[lambda run=run: try_claim(run) for run in runs])
        assert answers.count(True) == 1
        TaskRun.objects.active().update(status="succeeded", holds=None)

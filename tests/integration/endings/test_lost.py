"""Runs whose process, worker or connection is gone: what their rows say."""

import signal
from pathlib import Path

import pytest

from dispatcher import run_now, run_task
from dispatcher.models import Status, TaskRun, Worker
from dispatcher.tick import rescue_pass
from tests.integration.endings.runs import (
    another_worker,
    definition,
    end_of,
    end_with_rescue,
    fresh,
    later,
    let_leases_run_out,
    noted,
    on_prefork,
    on_threads,
    renewed,
    running,
    times,
)
from tests.integration.harness import Stack
from tests.integration.tasks_app import tasks


@on_prefork
def test_runs_whose_process_ends_are_lost_and_a_run_beside_them_keeps_its_lease(
    stack: Stack,
) -> None:
    """Together, because a pool takes five seconds to see that a child is dead."""
    with another_worker(stack, concurrency=6):
        beside = running(stack, run_now(definition(tasks.sleep, 20, "beside", queue="other")))
        runs = {
            task.__name__: (run_now(definition(task, queue="other")), reason)
            for task, reason in (
                (tasks.exit, "exited"),
                (tasks.kill_self, "process_gone"),
                (tasks.exit_at_once, "process_gone"),
                (tasks.requeued_kill_self, "process_gone"),
            )
        }
        again = run_now(definition(tasks.kill_again, queue="other", on_lost="rerun"))

        renewed(stack, beside)
        for name, (run, reason) in runs.items():
            ended = end_with_rescue(stack, run)
            assert (name, ended.status) == (name, "lost")
            assert ended.reason in (reason, "lease_ran_out")
        again = end_with_rescue(stack, again)
        assert (again.status, again.attempt) == ("lost", 4)
        earlier = list(again.attempts.values_list("attempt", "status"))
        assert earlier == [(1, "lost"), (2, "lost"), (3, "lost")]
        assert end_of(stack, beside).status == "succeeded"

    assert times(stack, "kill_again") == 4
    for name, (run, _reason) in runs.items():  # also where Celery put the message back
        assert (name, times(stack, name), fresh(run).attempt) == (name, 1, 1)


@on_prefork
def test_a_task_that_kills_its_whole_worker_each_time_ends_lost_and_harms_no_other(
    stack: Stack,
) -> None:
    """A supervisor starts the worker again; four starts, then the run is left alone."""
    killer = run_now(definition(tasks.kill_worker, queue="other", on_lost="rerun"))
    others = [run_now(definition(tasks.record, f"other {n}", queue="other")) for n in range(6)]
    starts = 0
    while not fresh(killer).is_ended:
        starts += 1
        with another_worker(stack, concurrency=1, wait=False) as worker:
            worker.wait()  # it may be dead before it says that it is ready
        let_leases_run_out(*TaskRun.objects.filter(status=Status.RUNNING))
        rescue_pass(later(40))
    with another_worker(stack):
        for run in others:
            end_with_rescue(stack, run)

    killer = fresh(killer)
    assert (killer.status, killer.reason, killer.attempt) == ("lost", "lease_ran_out", 4)
    assert (starts, times(stack, "kill_worker")) == (4, 4)
    for number, run in enumerate(others):
        assert (fresh(run).status, times(stack, f"other {number}")) == ("succeeded", 1)


@on_prefork
def test_a_run_handed_to_a_process_that_is_just_dying_is_sent_again(
    stack: Stack, tmp_path: Path
) -> None:
    """Its message is gone, but nobody has claimed it: it was not started, and is not lost."""
    with another_worker(stack):
        died = tmp_path / "died"
        run = run_now(definition(tasks.dies_when_handed_over, str(died), queue="other"))
        stack.wait_until(died.exists, 20, "the process to die")
        assert rescue_pass().published == 0  # not before 30 s have passed
        run = end_with_rescue(stack, run)

    assert (run.status, run.attempt, run.started_at > run.published_at) == ("succeeded", 1, True)
    assert times(stack, "dies_when_handed_over") == 1


@on_threads
def test_sys_exit_in_a_thread_is_lost_at_once_and_the_worker_goes_on(stack: Stack) -> None:
    run = end_of(stack, run_task(tasks.exit))

    assert (run.status, run.reason) == ("lost", "exited")
    assert end_of(stack, run_task(tasks.ok, [1])).status == "succeeded"


@pytest.mark.parametrize("pool", ["solo"], indirect=True, scope="module")
def test_sys_exit_under_solo_is_lost_and_the_worker_ends_or_works_on(stack: Stack) -> None:
    """Celery trips over it. That error ends the worker, unless the message is the first that it
    takes from RabbitMQ: then a promise of its event loop swallows the error."""
    with another_worker(stack) as worker:
        run = end_of(stack, run_now(definition(tasks.exit, queue="other")))
        after = run_now(definition(tasks.ok, 1, queue="other"))
        stack.wait_until(
            lambda: not worker.running or TaskRun.objects.get(pk=after.pk).status == "succeeded",
            30,
            "the worker to end, or the next run",
        )

    assert (run.status, run.reason) == ("lost", "exited")


@on_prefork
def test_memory_error_fails_the_run_and_takes_no_other_along(stack: Stack) -> None:
    with another_worker(stack) as worker:
        run = end_of(stack, run_now(definition(tasks.out_of_memory, queue="other")))
        after = end_of(stack, run_now(definition(tasks.ok, queue="other")))
        assert worker.running
    assert after.status == "succeeded"

    assert (run.status, run.reason) == ("failed", "exception")
    assert run.exception.startswith("MemoryError")


@on_prefork
def test_a_cold_shutdown_loses_what_runs(stack: Stack) -> None:
    with another_worker(stack) as worker:
        run = run_now(definition(tasks.sleep, 30, queue="other"))
        running(stack, run)
        noted(stack, "sleep")
        worker.stop(signal.SIGQUIT)
        run = end_of(stack, run)

    assert run.status == "lost"


@on_prefork
def test_a_killed_worker_loses_its_runs_also_when_it_is_back_under_the_same_name(
    stack: Stack,
) -> None:
    job = definition(tasks.sleep, 60, queue="other")
    with another_worker(stack, hostname="comes-back@here") as worker:
        run = running(stack, run_now(job))
        noted(stack, "sleep")
        worker.kill()
    with another_worker(stack, hostname="comes-back@here"):
        stack.wait_until(
            lambda: Worker.objects.filter(hostname="comes-back@here").count() == 2, 20, "its return"
        )
        assert fresh(run).lease_until == run.lease_until  # the new one does not speak for it
        rescue_pass()
        assert fresh(run).status == "running"  # not before its lease has run out
        let_leases_run_out(run)
        rescue_pass()

    run = fresh(run)
    assert (run.status, run.reason) == ("lost", "lease_ran_out")
    assert run.reason_params["worker"] == "comes-back@here"
    assert times(stack, "sleep") == 1


@on_prefork
def test_a_run_of_a_killed_worker_is_run_again_by_another_one(stack: Stack, tmp_path: Path) -> None:
    done = tmp_path / "the second attempt may end"
    job = definition(tasks.hold, str(done), queue="other", on_lost="rerun")
    with another_worker(stack) as worker:
        run = running(stack, run_now(job))
        noted(stack, "hold")
        worker.kill()
    done.touch()
    let_leases_run_out(run)
    rescue_pass()
    with another_worker(stack):
        run = end_of(stack, run)

    assert (run.status, run.attempt) == ("succeeded", 2)
    assert [(a.status, a.reason) for a in run.attempts.all()] == [("lost", "lease_ran_out")]
    assert times(stack, "hold") == 2 and times(stack, "hold:end") == 1


@on_prefork
def test_a_late_end_corrects_lost(stack: Stack, tmp_path: Path) -> None:
    """A paused machine: the lease ran out, and then the run went on and ended."""
    done = tmp_path / "it may end"
    with another_worker(stack) as worker:
        run = running(stack, run_now(definition(tasks.hold, str(done), queue="other")))
        noted(stack, "hold")
        worker.freeze()
        let_leases_run_out(run)
        rescue_pass()
        assert fresh(run).status == "lost"
        done.touch()
        worker.thaw()
        stack.wait_until(lambda: fresh(run).status == "succeeded", 20, "the late end")

    run = fresh(run)
    assert (run.reason, run.result) == ("", "hold")


@on_threads
def test_leases_are_renewed_where_runs_have_no_process_of_their_own(
    stack: Stack, tmp_path: Path
) -> None:
    done = tmp_path / "they may end"
    with another_worker(stack, pool="solo"):
        in_solo = running(stack, run_now(definition(tasks.hold, str(done), queue="other")))
        in_thread = running(stack, run_task(tasks.hold, [str(done)]))
        for run in (in_solo, in_thread):
            renewed(stack, run)
        done.touch()
        for run in (in_solo, in_thread):
            assert end_of(stack, run).status == "succeeded"

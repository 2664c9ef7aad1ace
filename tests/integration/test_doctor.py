"""What `doctor` learns from workers: real ones, with the gate and without it."""

from pathlib import Path

from dispatcher.models import Worker
from dispatcher.watch.doctor import examine
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.integration.harness import Stack
from tests.integration.tasks_app import tasks

BARE = """
import os
from celery import Celery

app = Celery("bare", broker=os.environ["CELERY_BROKER_URL"])


@app.task(name="bare.task")
def task():
    pass
"""


def found() -> dict[str, str]:
    return {finding.code: finding.sentence for finding in examine()}


def test_workers_say_what_they_know_and_who_does_not_is_found_out(
    stack: Stack, tmp_path: Path
) -> None:
    ScheduledTask.objects.create_interval("job", tasks.ok, 86_400)
    worker = stack.start("worker")
    stack.wait_until(lambda: Worker.objects.alive(database_now()).exists(), 20, "its first word")
    row = Worker.objects.get()
    assert tasks.ok.name in row.tasks
    assert not [name for name in row.tasks if name.startswith("celery.")]
    stack.wait_until(
        lambda: Worker.objects.get().clock_offset is not None, 20, "its clock to be compared"
    )
    assert abs(Worker.objects.get().clock_offset) < 2
    assert set(found()) == {"no_tick", "no_dispatcher"}

    ScheduledTask.objects.create_interval("unknown", "bare.task", 86_400)
    assert "no worker knows it" in found()["unknown_task"]

    (tmp_path / "bare.py").write_text(BARE)
    words = ["celery", "-A", "bare", "worker", "--pool", "solo", "--loglevel", "INFO"]
    stranger = {"PYTHONPATH": str(tmp_path), "DJANGO_SETTINGS_MODULE": ""}
    bare = stack.run("bare", [*words, "--hostname", "bare@here"], env=stranger)
    stack.wait_until(lambda: " ready." in bare.log, 30, "the bare worker")
    assert "bare@here" in found()["worker_without_gate"]
    bare.stop()
    assert "worker_without_gate" not in found()

    worker.kill()
    Worker.objects.update(lease_until=database_now())
    assert "“celery”" in found()["queue_not_consumed"]


def test_the_loop_alone_is_dispatcher_enough(stack: Stack) -> None:
    loop = stack.run("loop", ["manage.py", "tick", "--loop"])
    stack.wait_until(lambda: "no_tick" not in found(), 30, "its first tick")
    assert found() == {}
    assert loop.running

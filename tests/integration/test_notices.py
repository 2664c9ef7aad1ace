"""A mail from a real dispatcher: the schedule starts failing, and then works again."""

from collections.abc import Iterator

import pytest

from scheduling.models import ScheduledTask
from tests.dispatcher.mail_server import MailServer
from tests.integration.harness import Stack
from tests.integration.tasks_app import tasks


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    server = MailServer()
    yield server
    server.close()


@pytest.mark.slow
def test_the_owner_is_told_by_mail_of_a_failure_and_of_a_recovery(
    stack: Stack, mail_server: MailServer
) -> None:
    settings = {
        "EMAIL_URL": f"smtp://127.0.0.1:{mail_server.port}",
        "SITE_URL": "https://jobs.example.com",
    }
    stack.start("worker")
    stack.start("dispatcher", env=settings)
    stack.start("beat")
    job = ScheduledTask.objects.create_interval(
        "Nightly", tasks.fail, 3, args=["no such file"], owner="ada@example.com"
    )
    stack.wait_until(lambda: mail_server.letters, 60, "the first mail")
    first = mail_server.letters[0]
    assert (first["To"], first["Subject"]) == ("ada@example.com", "“Nightly” started failing")
    assert "no such file" in first.get_content()
    assert "https://jobs.example.com/admin/dispatcher/taskrun/" in first.get_content()

    job.task, job.args = tasks.ok.name, []
    job.save()
    stack.wait_until(lambda: len(mail_server.letters) > 1, 60, "the second mail")
    assert [letter["Subject"] for letter in mail_server.letters] == [
        "“Nightly” started failing",
        "“Nightly” works again",
    ]

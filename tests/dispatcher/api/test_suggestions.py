"""What the API suggests for a rule that is refused or in doubt."""

from datetime import datetime

import pytest

from scheduling.schedules import Cron
from tests.dispatcher.api.conftest import CRON, Api

pytestmark = pytest.mark.django_db


def meant(api: Api, **columns):
    answer = api.post("scheduled-tasks/", CRON | {"timezone": "UTC"} | columns)
    assert answer.status_code == 400
    [error] = answer.json()["errors"]
    return error, error.get("suggestions", [])


def test_a_refusal_suggests_what_was_meant_with_its_next_three_runs(api: Api) -> None:
    error, [one] = meant(api, cron_expression="0 9 * * 1, 3")
    assert error["field"] == "cron_expression"
    assert "“0 9 * * 1,3”" in error["detail"]
    assert (one["kind"], one["expression"], one["timezone"]) == ("cron", "0 9 * * 1,3", "UTC")
    assert one["meaning"] == "every Monday and every Wednesday at 09:00 (UTC)"
    first, second, third = map(datetime.fromisoformat, one["next_runs"])
    assert (Cron("0 9 * * 1,3").next_after(first), second < third) == (second, True)
    assert (
        api.post("scheduled-tasks/", CRON | {"cron_expression": one["expression"]}).status_code
        == 201
    )


def test_two_readings_are_both_suggested(api: Api) -> None:
    _, found = meant(api, cron_expression="0 4 1-7 * saturday")
    assert [one["expression"] for one in found] == ["0 4 1-7 * SAT", "0 4 * * SAT#1"]


def test_a_rate_suggests_the_kind_interval(api: Api) -> None:
    _, [one] = meant(api, cron_expression="rate(5 minutes)")
    assert (one["kind"], one["interval_seconds"], one["expression"]) == ("interval", 300, "")
    assert len(one["next_runs"]) == 3


def test_a_zone_is_suggested_with_the_runs_of_the_rule(api: Api) -> None:
    error, [one] = meant(api, timezone="Asia/Beijing")
    assert error["field"] == "timezone"
    assert (one["timezone"], one["expression"]) == ("Asia/Shanghai", "30 3 * * *")
    assert one["next_runs"][0].endswith("19:30:00Z")


def test_years_become_bounds_on_the_clock_of_the_zone(api: Api) -> None:
    _, [one] = meant(api, cron_expression="0 9 * * ? 2099", timezone="Asia/Tokyo")
    assert one["starts_at"] == "2098-12-31T15:00:00Z"
    assert one["ends_at"] == "2099-12-31T14:59:59Z"
    assert one["next_runs"][0] == "2099-01-01T00:00:00Z"


def test_what_nobody_can_tell_suggests_nothing(api: Api) -> None:
    error, found = meant(api, cron_expression="61 * * * *")
    assert found == []
    assert "suggestions" not in error


@pytest.mark.parametrize(
    ("text", "expressions"),
    [
        ("0 0 9 ? * 2-6", ["0 9 * * TUE-SAT", "0 9 * * MON-FRI"]),  # in doubt
        ("0 10 * * ? *", ["0 10 * * *"]),  # refused
        ("0 9 * * MON", []),
    ],
)
def test_the_preview_suggests_too(api: Api, text: str, expressions: list[str]) -> None:
    answer = api.post("scheduled-tasks/preview/", CRON | {"cron_expression": text}).json()
    assert [one["expression"] for one in answer["suggestions"]] == expressions

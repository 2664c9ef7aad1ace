"""A client of the API, signed in as somebody who may do everything."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

OK = "tests.integration.tasks_app.tasks.ok"
ADD = "tests.integration.tasks_app.tasks.add"

CRON = {"name": "Nightly", "task": OK, "kind": "cron", "cron_expression": "30 3 * * *"}
EVERY = {"name": "Pulse", "task": OK, "kind": "interval", "interval_seconds": 3600}


class Api:
    """Requests in JSON; `headers` for each of them."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def get(self, path: str, **headers: str) -> Any:
        return self.client.get(address(path), headers=named(headers))

    def delete(self, path: str, **headers: str) -> Any:
        return self.client.delete(address(path), headers=named(headers))

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self._send("post", path, body, headers)

    def put(self, path: str, body: Any = None, **headers: str) -> Any:
        return self._send("put", path, body, headers)

    def patch(self, path: str, body: Any = None, **headers: str) -> Any:
        return self._send("patch", path, body, headers)

    def _send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Any:
        send = getattr(self.client, method)
        kind = "application/json"
        return send(address(path), {} if body is None else body, kind, headers=named(headers))

    def create(self, **columns: Any) -> Any:
        answer = self.post("scheduled-tasks/", CRON | columns)
        assert answer.status_code == 201, answer.content
        return answer.json()


def address(path: str) -> str:
    return path if path.startswith(("/", "http")) else f"/api/v1/{path}"


def named(headers: dict[str, str]) -> dict[str, str]:
    """`if_match` becomes `If-Match`."""
    return {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.fixture
def api(db: None) -> Api:
    ann = get_user_model().objects.create_superuser("ann")  # no password: hashing one takes long
    client = Client()
    client.force_login(ann)
    return Api(client)

"""A client of the API that measures: one connection, kept open, and the seconds of each answer."""

import http.client
import json
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

TIMEOUT = 60  # seconds
IDLE = 1  # seconds: gunicorn closes a connection after two without a request


class Answer(NamedTuple):
    status: int
    seconds: float
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    def __init__(self, address: str, token: str) -> None:
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self.connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=TIMEOUT)
        self.used = time.monotonic()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """`path`: below /api/v1/, or an address that the API gave."""
        sent = None if body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if not path.startswith("http"):
            path = f"/api/v1/{path}"
        if time.monotonic() - self.used > IDLE:
            self.connection.close()  # the next request opens it anew
        began = time.perf_counter()
        self.connection.request(method, path, sent, self.headers | named)
        answer = self.connection.getresponse()
        content = answer.read()
        seconds = time.perf_counter() - began
        self.used = time.monotonic()
        return Answer(answer.status, seconds, dict(answer.getheaders()), content)

    def close(self) -> None:
        self.connection.close()

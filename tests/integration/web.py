"""Somebody at the admin, without a browser: forms of a real `web` process, fetched and sent."""

import time
from datetime import UTC, datetime
from html.parser import HTMLParser
from http.client import HTTPResponse
from http.cookiejar import CookieJar
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

from tests.integration.harness import Stack
from tests.servers import free_port

LIST = "/admin/scheduling/scheduledtask/"
HANGS = 30  # seconds after which a page is taken for one that never comes


class Form(HTMLParser):
    """What a browser would send if nobody touched the form with that id."""

    def __init__(self, page: str, form_id: str) -> None:
        super().__init__()
        self.form_id, self.inside = form_id, False
        self.fields: dict[str, str] = {}
        self.open: str | None = None  # the textarea or select that we are in
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = dict(attrs)
        name = has.get("name") or ""
        if tag == "form":
            self.inside = has.get("id") == self.form_id
        if not self.inside:
            return
        kind = has.get("type", "text")
        if tag == "input" and kind not in ("submit", "button", "file"):
            if kind not in ("checkbox", "radio") or "checked" in has:
                self.fields[name] = has.get("value") or ("on" if kind == "checkbox" else "")
        elif tag in ("textarea", "select"):
            self.open = name
            self.fields[name] = ""
        elif tag == "option" and self.open and "selected" in has:
            self.fields[self.open] = has.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self.inside = False
        if tag in ("textarea", "select"):
            self.open = None

    def handle_data(self, data: str) -> None:
        # The text between <option> tags is no value; a textarea's is, after one line feed.
        if self.inside and self.open and self.lasttag == "textarea":
            self.fields[self.open] += data.removeprefix("\n")


class Web:
    """A `web` process and a logged-in user; `slowest`: seconds of the slowest change."""

    def __init__(self, stack: Stack) -> None:
        port = free_port()
        # DEBUG: the static files' hashed names exist only after collectstatic.
        env = {"HOST": "127.0.0.1", "PORT": str(port), "DEBUG": "true"}
        self.process = stack.start("web", env=env)
        self.url = f"http://127.0.0.1:{port}"
        self.cookies = CookieJar()
        self.opener = build_opener(HTTPCookieProcessor(self.cookies))
        self.slowest = 0.0

    def log_in(self, username: str, password: str) -> None:
        answer = self.submit("/admin/login/", "login-form", username=username, password=password)
        assert "login-form" not in answer, "the admin does not let us in"

    def create(self, name: str, **fields: Any) -> None:
        """A new scheduled task; AssertionError with the form's complaints if it is refused."""
        self._change(f"{LIST}add/", name=name, **fields)

    def edit(self, pk: int, **fields: Any) -> None:
        self._change(f"{LIST}{pk}/change/", **fields)

    def pause(self, pk: int) -> None:
        self._press(f"{LIST}{pk}/pause/")

    def resume(self, pk: int) -> None:
        self._press(f"{LIST}{pk}/resume/")

    def health(self) -> int:
        """The status code of /healthz."""
        try:
            return int(self._open("/healthz").status)
        except HTTPError as error:
            return error.code

    def get(self, path: str) -> str:
        return self._open(path).read().decode()

    def submit(self, path: str, form_id: str, **fields: Any) -> str:
        form = Form(self.get(path), form_id).fields
        assert form, f"{path} shows no form {form_id}"
        return self._post(path, form | as_typed(fields))

    def _change(self, path: str, **fields: Any) -> None:
        answer = self.submit(path, "scheduledtask_form", **fields)
        complaints = Complaints(answer).texts
        assert not complaints, complaints

    def _press(self, path: str) -> None:
        [token] = [cookie.value for cookie in self.cookies if cookie.name == "csrftoken"]
        self._post(path, {"csrfmiddlewaretoken": token or ""})

    def _post(self, path: str, fields: dict[str, str]) -> str:
        began = time.monotonic()
        try:
            return self._open(path, urlencode(fields).encode()).read().decode()
        finally:
            self.slowest = max(self.slowest, time.monotonic() - began)

    def _open(self, path: str, data: bytes | None = None) -> HTTPResponse:
        return self.opener.open(self.url + path, data, timeout=HANGS)


class Complaints(HTMLParser):
    """The texts of a page's `errorlist`s."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.inside = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "ul":
            self.inside = "errorlist" in (dict(attrs).get("class") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "ul":
            self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside and data.strip():
            self.texts.append(data.strip())


def as_typed(fields: dict[str, Any]) -> dict[str, str]:
    """A moment goes into two fields, in the zone of the form: UTC in the tests."""
    typed: dict[str, str] = {}
    for name, value in fields.items():
        if isinstance(value, datetime):
            moment = value.astimezone(UTC)
            typed |= {f"{name}_0": f"{moment:%Y-%m-%d}", f"{name}_1": f"{moment:%H:%M:%S}"}
        else:
            typed[name] = str(value)
    return typed

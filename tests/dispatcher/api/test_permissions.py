"""Who may: the scope of the token and the permissions of the user, each action both."""

import pytest
from django.contrib.auth.models import Permission, User
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from dispatcher.api.kernel.permissions import Guarded
from dispatcher.api.models import Scope
from scheduling.models import ScheduledTask
from tests.dispatcher.api.board import OK, Board, bearer, secret_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.dispatcher.api.board")]

NEEDED = ("view_scheduledtask", "add_scheduledtask", "delete_scheduledtask", "cancel_taskrun")


def user_with(*codenames):
    user = User.objects.create_user("bob")
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return user


def job():
    return ScheduledTask.objects.create_interval("job", OK, 3600)


def ask(client, method, headers=None):
    """(status, code of the error or None) for list, create and destroy."""
    pk = ScheduledTask.objects.values_list("pk", flat=True).first()
    address = f"/board/{pk}/" if method == "delete" else "/board/"
    body = {"data": {"name": "new"}, "content_type": "application/json"} if method == "post" else {}
    response = getattr(client, method)(address, headers=headers, **body)
    detail = (response.data or {}).get("detail")
    return response.status_code, getattr(detail, "code", None)


METHODS = {"get": ("read", 200), "post": ("write", 201), "delete": ("write", 204)}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scope", Scope.values)
def test_a_token_does_what_its_scopes_say(client, method, scope):
    job()
    headers = bearer(secret_of(user_with(*NEEDED), scope))
    needed, done = METHODS[method]
    expected = (done, None) if scope == needed else (403, "missing_scope")
    assert ask(client, method, headers) == expected


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("has", ["token", "session"])
def test_nobody_does_what_the_user_may_not(client, method, has):
    job()
    user = user_with("cancel_taskrun", "change_scheduledtask")
    headers = bearer(secret_of(user)) if has == "token" else None
    if has == "session":
        client.force_login(user)
    assert ask(client, method, headers) == (403, "missing_permission")
    assert ScheduledTask.objects.count() == 1


def test_every_permission_that_is_named_is_needed(client):
    job()
    headers = bearer(secret_of(user_with("delete_scheduledtask")))
    assert ask(client, "delete", headers) == (403, "missing_permission")


def test_the_refusal_names_what_is_missing(client):
    user = user_with()
    texts = [
        client.get("/board/", headers=bearer(secret_of(user, scope, name=scope))).data["detail"]
        for scope in ("run", "read")
    ]
    assert texts == [
        "This needs a token with the scope “read”.",
        "This needs the permission “scheduling.view_scheduledtask”.",
    ]


def test_a_session_has_every_scope_and_the_protection_against_forged_requests():
    client = Client(enforce_csrf_checks=True)
    client.force_login(user_with(*NEEDED))
    assert ask(client, "get") == (200, None)
    assert ask(client, "post") == (403, "csrf_failed")
    client.cookies["csrftoken"] = "a" * 32
    assert ask(client, "post", {"x-csrftoken": "a" * 32}) == (201, None)


def test_a_token_needs_no_such_protection():
    client = Client(enforce_csrf_checks=True)
    assert ask(client, "post", bearer(secret_of(user_with(*NEEDED)))) == (201, None)


def test_a_method_that_is_not_there_is_told_only_to_who_is_known(client):
    assert client.put("/board/").status_code == 401
    assert client.options("/board/").status_code == 401
    headers = bearer(secret_of(user_with(), "run"))
    assert client.put("/board/", headers=headers).status_code == 405
    assert client.options("/board/", headers=headers).status_code == 200


def test_a_head_request_needs_what_the_get_does(client):
    user = user_with("view_scheduledtask")
    assert client.head("/board/", headers=bearer(secret_of(user, "read"))).status_code == 200
    headers = bearer(secret_of(user, "run", name="other"))
    assert client.head("/board/", headers=headers).status_code == 403


# What is not declared -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ({}, "says nothing about 'list'"),
        ({"create": (Scope.READ,)}, "says nothing about 'list'"),
        ({"list": ()}, "says nothing about 'list'"),
        ({"list": ("all", "scheduling.view_scheduledtask")}, "no scope 'all'"),
        ({"list": (Scope.READ, "scheduling.look")}, "no permission 'scheduling.look'"),
        ({"list": (Scope.READ, "look")}, "no permission 'look'"),
    ],
)
def test_an_action_without_a_sound_declaration_cannot_be_routed(declared, says):
    class Forgetful(Guarded, ViewSet):
        requires = declared

        def list(self, request):
            return Response([])

    with pytest.raises(ImproperlyConfigured) as caught:
        Forgetful.as_view({"get": "list"})
    assert says in str(caught.value)


def test_a_view_without_actions_declares_its_methods():
    class Plain(Guarded, APIView):
        requires = {"get": (Scope.READ, "scheduling.view_scheduledtask")}

        def get(self, request):
            return Response([])

    class Forgetful(Plain):
        def post(self, request):
            return Response([])

    assert callable(Plain.as_view())
    with pytest.raises(ImproperlyConfigured, match="says nothing about 'post'"):
        Forgetful.as_view()


def test_an_action_added_later_is_not_open(client, monkeypatch):
    monkeypatch.setattr(Board, "requires", {})
    client.raise_request_exception = False
    response = client.get("/board/", headers=bearer(secret_of(user_with(*NEEDED))))
    assert response.status_code == 500


# In whose name ------------------------------------------------------------------------------------


def trail():
    return [
        (entry.history_type, entry.via, entry.by, getattr(entry.history_user, "username", None))
        for entry in ScheduledTask.history.order_by("history_id")
    ]


def test_the_audit_trail_names_the_user_and_the_token(client):
    user = user_with(*NEEDED)
    headers = bearer(secret_of(user, name="deploy"))
    ask(client, "post", headers)
    ask(client, "delete", headers)
    client.force_login(user)
    ask(client, "post")
    assert trail() == [
        ("+", "api", "bob (token deploy)", "bob"),
        ("-", "api", "bob (token deploy)", "bob"),
        ("+", "api", "bob", "bob"),
    ]


def test_who_asked_is_forgotten_after_the_request(client):
    ask(client, "post", bearer(secret_of(user_with(*NEEDED))))
    job()
    assert trail()[-1] == ("+", "code", "", None)


def test_a_long_user_name_does_not_cut_off_the_token(client):
    user = user_with(*NEEDED)
    User.objects.filter(pk=user.pk).update(username="u" * 150)
    ask(client, "post", bearer(secret_of(user, name="t" * 40)))
    ((_kind, _via, by, _user),) = trail()
    assert by == "u" * 150 + " (token " + "t" * 40 + ")"

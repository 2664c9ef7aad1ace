"""Tokens: who they let in, how they are kept, and how they are made, shown once and revoked."""

import re
from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from dispatcher.api.models import ApiToken, digest_of
from scheduling.database import database_now
from tests.dispatcher.api.board import bearer, secret_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.dispatcher.api.board")]

HOUR = timedelta(hours=1)


@pytest.fixture
def ann():
    return User.objects.create_superuser("ann")


def permitted(name, *codenames, staff=True):
    user = User.objects.create_user(name, is_staff=staff)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return user


def refused(client, authorization):
    """(status, challenge) of a request with this header."""
    response = client.get("/board/", headers={"authorization": authorization})
    return response.status_code, response.headers.get("WWW-Authenticate")


# Who gets in --------------------------------------------------------------------------------------


def test_a_token_acts_as_its_user(client, ann):
    response = client.get("/board/", headers=bearer(secret_of(ann)))
    assert response.json() == {"caller": "ann (token ci)", "via": "api"}


def test_the_scheme_is_written_in_any_case(client, ann):
    secret = secret_of(ann)
    assert refused(client, f"bearer {secret}") == (200, None)


INVALID = 'Bearer realm="api", error="invalid_token"'


def test_without_a_token_one_is_asked_for(client):
    response = client.get("/board/")
    assert (response.status_code, response.data["detail"].code) == (401, "not_authenticated")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="api"'
    assert refused(client, "Basic YW5uOng=") == (401, 'Bearer realm="api"')


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("Bearer", "malformed_token"),
        ("Bearer mh_a mh_b", "malformed_token"),
        ("Bearer mh_short", "invalid_token"),
        ("Bearer mh_" + "a" * 43, "invalid_token"),
        ("Bearer mh_" + "ä" * 43, "invalid_token"),
        ("Bearer mh_" + "a" * 100_000, "invalid_token"),
    ],
)
def test_a_header_that_names_no_token_is_refused(client, authorization, code):
    response = client.get("/board/", headers={"authorization": authorization})
    assert (response.status_code, response.data["detail"].code) == (401, code)
    assert response.headers["WWW-Authenticate"] == INVALID


def test_what_cannot_be_a_token_is_not_looked_up(client):
    with CaptureQueriesContext(connection) as queries:
        assert refused(client, "Bearer guess") == (401, INVALID)
    assert len(queries) == 0


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda now: ApiToken.objects.all().revoke(now), "revoked_token"),
        (lambda now: ApiToken.objects.update(expires_at=now), "expired_token"),
        (lambda now: User.objects.update(is_active=False), "inactive_user"),
    ],
)
def test_a_token_that_is_over_is_refused_with_the_reason(client, ann, spoil, code):
    secret = secret_of(ann)
    assert refused(client, f"Bearer {secret}") == (200, None)
    spoil(database_now())
    response = client.get("/board/", headers=bearer(secret))
    assert (response.status_code, response.data["detail"].code) == (401, code)
    assert response.headers["WWW-Authenticate"] == INVALID


def test_a_bad_token_is_refused_although_there_is_a_session(client, ann):
    client.force_login(ann)
    assert refused(client, "Bearer guess") == (401, INVALID)


def test_a_token_of_a_deleted_user_is_gone(client, ann):
    secret = secret_of(ann)
    ann.delete()
    assert refused(client, f"Bearer {secret}") == (401, INVALID)


# How it is kept -----------------------------------------------------------------------------------


def test_a_secret_is_long_random_and_kept_as_a_digest(ann):
    first, second = secret_of(ann, name="one"), secret_of(ann, name="two")
    assert re.fullmatch("mh_[A-Za-z0-9]{43}", first)
    assert first[3:] != second[3:]
    row = ApiToken.objects.filter(name="one").values().get()
    assert row["digest"] == digest_of(first)
    assert row["prefix"] == first[:8]
    assert first[:9] not in str(row)


def test_a_request_costs_one_query_for_the_token_and_its_user(client, ann):
    secret = secret_of(ann)
    client.get("/board/", headers=bearer(secret))  # notes the use
    with CaptureQueriesContext(connection) as queries:
        client.get("/board/", headers=bearer(secret))
    assert len(queries) == 1


def test_the_last_use_is_written_once_a_minute(client, ann):
    secret = secret_of(ann)
    assert ApiToken.objects.get().last_used_at is None
    client.get("/board/", headers=bearer(secret))
    first = ApiToken.objects.get().last_used_at
    client.get("/board/", headers=bearer(secret))
    assert ApiToken.objects.get().last_used_at == first
    ApiToken.objects.update(last_used_at=first - timedelta(minutes=1))
    client.get("/board/", headers=bearer(secret))
    assert ApiToken.objects.get().last_used_at >= first


def test_a_refused_token_leaves_no_use(client, ann):
    secret = secret_of(ann)
    ApiToken.objects.all().revoke(database_now())
    client.get("/board/", headers=bearer(secret))
    assert ApiToken.objects.get().last_used_at is None


def test_who_revoked_it_first_stays(ann):
    secret_of(ann)
    now = database_now()
    assert ApiToken.objects.all().revoke(now, by=ann) == 1
    assert ApiToken.objects.all().revoke(now + HOUR, by="somebody else") == 0
    token = ApiToken.objects.get()
    assert (token.revoked_at, token.revoked_by) == (now, "ann")


@pytest.mark.parametrize("scopes", [[], ["admin"], ["read", "admin"], "read", None, {"read": 1}])
def test_scopes_are_a_choice_of_three(ann, scopes):
    token = ApiToken(name="ci", user=ann, scopes=scopes)
    with pytest.raises(ValidationError) as caught:
        token.clean()
    assert caught.value.message_dict == {"scopes": ["Choose at least one of: read, run, write."]}


# The command --------------------------------------------------------------------------------------


def made_by_command(*words):
    out = StringIO()
    call_command("create_api_token", *words, stdout=out)
    return out.getvalue()


def test_the_command_prints_the_token_and_nothing_else(client, ann):
    words = ["--name", "deploy", "--scope", "run", "--scope", "read", "--expires-days", "7"]
    output = made_by_command("ann", *words)
    assert re.fullmatch("mh_[A-Za-z0-9]{43}\n", output)
    assert client.get("/board/", headers=bearer(output.strip())).status_code == 200
    token = ApiToken.objects.get()
    assert (token.name, token.scopes, token.created_by) == (
        "deploy",
        ["read", "run"],
        "create_api_token",
    )
    assert token.expires_at - token.created_at == timedelta(days=7)


def test_a_token_lives_90_days_where_nothing_is_said(ann):
    made_by_command("ann", "--name", "ci", "--scope", "read")
    token = ApiToken.objects.get()
    assert token.expires_at - token.created_at == timedelta(days=90)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["bob", "--name", "x", "--scope", "read"], "no user 'bob'. Make one in the admin"),
        (["ann", "--name", "x"], "one of the arguments --scope --revoke is required"),
        (["ann", "--name", "x", "--scope", "all"], "invalid choice: 'all'"),
        (["ann", "--scope", "read"], "required: --name"),
        (["ann", "--name", "", "--scope", "read"], "cannot be blank"),
        (["ann", "--name", "x" * 41, "--scope", "read"], "at most 40 characters"),
        (["ann", "--name", "taken", "--scope", "read"], "has a token of this name already"),
        (["ann", "--name", "x", "--scope", "read", "--expires-days", "0"], "from 1 to 3660"),
        (["ann", "--name", "x", "--scope", "read", "--expires-days", "9999999"], "from 1 to"),
        (["off", "--name", "x", "--scope", "read"], "'off' is not active"),
        (["ann", "--name", "x", "--scope", "read", "--revoke"], "not allowed with argument"),
        (["ann", "--name", "x", "--revoke"], "has no token 'x'. It has: taken."),
        (["off", "--name", "x", "--revoke"], "has no token 'x'. It has none."),
        (["bob", "--name", "x", "--revoke"], "no user 'bob'"),
    ],
)
def test_the_command_says_what_to_do(ann, words, says):
    User.objects.create_user("off", is_active=False)
    secret_of(ann, name="taken")
    with pytest.raises(CommandError) as caught:
        made_by_command(*words)
    assert says in str(caught.value)
    assert ApiToken.objects.count() == 1


def test_the_command_revokes_a_token_at_once(client, ann):
    secret, other = secret_of(ann, name="ci"), secret_of(ann, name="deploy")
    User.objects.filter(pk=ann.pk).update(is_active=False)
    assert made_by_command("ann", "--name", "ci", "--revoke") == "The token 'ci' is revoked.\n"
    again = made_by_command("ann", "--name", "ci", "--revoke")
    assert again == "The token 'ci' was revoked already.\n"
    User.objects.filter(pk=ann.pk).update(is_active=True)
    assert ApiToken.objects.get(name="ci").revoked_by == "create_api_token"
    assert client.get("/board/", headers=bearer(secret)).status_code == 401
    assert client.get("/board/", headers=bearer(other)).status_code == 200


# The admin ----------------------------------------------------------------------------------------

LIST = reverse("admin:scheduling_api_apitoken_changelist", urlconf="tests.dispatcher.api.board")
ADD = reverse("admin:scheduling_api_apitoken_add", urlconf="tests.dispatcher.api.board")


def page_of(token, name="change"):
    return reverse(f"admin:scheduling_api_apitoken_{name}", args=[token.pk])


def typed(user, **more):
    expires = database_now() + timedelta(days=30)
    return {
        "name": "ci",
        "user": user.pk,
        "scopes": ["read", "write"],
        "expires_at_0": expires.strftime("%Y-%m-%d"),
        "expires_at_1": "12:00:00",
        **more,
    }


def test_the_admin_shows_a_new_secret_once(client, ann):
    client.force_login(ann)
    response = client.post(ADD, typed(ann))
    (secret,) = set(re.findall("mh_[A-Za-z0-9]{43}", response.content.decode()))
    assert "no-store" in response.headers["Cache-Control"]
    token = ApiToken.objects.get()
    assert (token.digest, token.created_by, token.scopes) == (
        digest_of(secret),
        "ann",
        ["read", "write"],
    )
    for address in (LIST, page_of(token), page_of(token, "history")):
        page = client.get(address).content.decode()
        assert secret[:9] not in page and token.digest not in page
    assert client.get("/board/", headers=bearer(secret)).status_code == 200
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_repr, entry.is_addition()) == (ann, "ci", True)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"scopes": []}, "This field is required."),
        ({"scopes": ["all"]}, "Select a valid choice."),
        ({"expires_at_0": "2020-01-01"}, "Give a time to come, at most ten years away."),
        ({"expires_at_0": "2099-01-01"}, "Give a time to come, at most ten years away."),
        ({"name": "taken"}, "This user has a token of this name already."),
    ],
)
def test_the_admin_refuses_what_makes_no_token(client, ann, more, says):
    secret_of(ann, name="taken")
    client.force_login(ann)
    response = client.post(ADD, typed(ann, **more))
    assert says in response.content.decode()
    assert ApiToken.objects.count() == 1


def test_the_list_shows_what_became_of_each(client, ann):
    bob = User.objects.create_user("bob", is_active=False)
    for name in ("well", "over", "ended"):
        secret_of(ann, name=name)
    secret_of(bob, name="off")
    ApiToken.objects.filter(name="over").update(expires_at=database_now())
    ApiToken.objects.filter(name="ended").revoke(database_now())
    client.force_login(ann)
    page = client.get(LIST).content.decode()
    states = re.findall('field-state">([^<]+)<', page)
    assert states == ["its user is not active", "revoked", "expired", "active"]
    assert page.count("read, run, write") == 4


def test_a_token_is_not_edited(client, ann):
    secret_of(ann)
    token = ApiToken.objects.get()
    client.force_login(ann)
    page = client.get(page_of(token)).content.decode()
    assert 'name="name"' not in page and 'name="_save"' not in page
    assert page_of(token, "revoke") in page
    client.post(page_of(token), typed(ann, name="other"))
    assert ApiToken.objects.values().get() == {
        field.attname: getattr(token, field.attname) for field in ApiToken._meta.concrete_fields
    }


def test_a_token_is_revoked_on_its_page_after_a_question(client, ann):
    secret = secret_of(ann)
    token = ApiToken.objects.get()
    client.force_login(ann)
    question = client.get(page_of(token, "revoke")).content.decode()
    assert "This cannot be undone." in question and f"{token.prefix}…" in question
    assert ApiToken.objects.get().revoked_at is None
    response = client.post(page_of(token, "revoke"), follow=True)
    assert "1 token is revoked." in response.content.decode()
    assert page_of(token, "revoke") not in response.content.decode()
    assert ApiToken.objects.get().revoked_by == "ann"
    assert LogEntry.objects.get().change_message == "Revoked."
    assert refused(client, f"Bearer {secret}") == (401, INVALID)


def test_many_are_revoked_from_the_list_after_a_question(client, ann):
    for name in ("one", "two", "three"):
        secret_of(ann, name=name)
    chosen = ApiToken.objects.exclude(name="two").values_list("pk", flat=True)
    data = {"action": "revoke", "_selected_action": list(chosen)}
    client.force_login(ann)
    question = client.post(LIST, data).content.decode()
    assert "Revoke the tokens?" in question and question.count('name="_selected_action"') == 2
    assert not ApiToken.objects.exclude(revoked_at=None).exists()
    response = client.post(LIST, {**data, "confirmed": "yes"}, follow=True)
    assert "2 tokens are revoked." in response.content.decode()
    assert ApiToken.objects.get(revoked_at=None).name == "two"


def test_only_who_may_do_everything_makes_tokens_for_others(client, ann):
    bob = permitted("bob", "add_apitoken", "view_apitoken")
    client.force_login(bob)
    page = client.get(ADD).content.decode()
    assert f'<option value="{bob.pk}"' in page and f'value="{ann.pk}"' not in page
    assert "Select a valid choice." in client.post(ADD, typed(ann)).content.decode()
    assert not ApiToken.objects.exists()
    assert "mh_" in client.post(ADD, typed(bob)).content.decode()
    client.force_login(ann)
    client.post(ADD, typed(bob, name="made by ann"))
    rows = ApiToken.objects.order_by("pk").values_list("name", "user__username", "created_by")
    assert list(rows) == [("ci", "bob", "bob"), ("made by ann", "bob", "ann")]


def test_who_may_only_look_revokes_nothing(client, ann):
    secret_of(ann)
    token = ApiToken.objects.get()
    client.force_login(permitted("bob", "view_apitoken"))
    assert client.get(page_of(token)).status_code == 200
    assert client.get(page_of(token, "revoke")).status_code == 403
    assert client.post(page_of(token, "revoke")).status_code == 403
    client.post(LIST, {"action": "revoke", "_selected_action": [token.pk], "confirmed": "yes"})
    assert client.get(ADD).status_code == 403
    assert ApiToken.objects.get().revoked_at is None

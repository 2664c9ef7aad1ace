"""What follows a change once it is committed: called once, and nobody's error but its own."""

import pytest
from django.db import transaction

from scheduling.database.after_commit import after_commit

pytestmark = pytest.mark.django_db(transaction=True)


def test_it_is_called_with_its_arguments_when_the_transaction_is_committed():
    called = []
    with transaction.atomic():
        after_commit(lambda *args, **kwargs: called.append((args, kwargs)), 1, b=2)
        assert called == []
    assert called == [((1,), {"b": 2})]


def test_it_is_not_called_when_the_transaction_is_rolled_back():
    called = []
    with pytest.raises(RuntimeError), transaction.atomic():
        after_commit(called.append, 1)
        raise RuntimeError
    assert called == []


@pytest.mark.parametrize("inside", [True, False])
def test_what_it_raises_is_logged_and_keeps_nobody(caplog, inside):
    called = []

    def fail(why):
        raise LookupError(why)

    def all_three():
        after_commit(called.append, "before")
        after_commit(fail, "the dog ate it")
        after_commit(called.append, "after")

    if inside:
        with transaction.atomic():
            all_three()
    else:
        all_three()
    assert called == ["before", "after"]
    assert "fail in on_commit()" in caplog.text
    assert "the dog ate it" in caplog.text

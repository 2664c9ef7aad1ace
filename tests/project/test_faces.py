"""The faces: who looks for what a page of a model does looks into one class."""

import importlib
import inspect
import pkgutil

import pytest
from django.contrib import admin
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import ViewSetMixin

import dispatcher.api

#: The rooms of what several faces are made of.
SHARED = ("dispatcher.admin.kit.", "dispatcher.api.kernel.")
ADMINS = [
    type(each)
    for each in admin.site._registry.values()
    if type(each).__module__.startswith("dispatcher.")
]


def ours_of(cls):
    """The classes of the faces that it is made of, but for those that several faces share."""
    return [
        base
        for base in cls.__mro__
        if base.__module__.startswith("dispatcher.") and not base.__module__.startswith(SHARED)
    ]


def classes_of_the_api(base):
    for found in pkgutil.walk_packages(dispatcher.api.__path__, "dispatcher.api."):
        if ".migrations" in found.name or found.name.startswith(SHARED):
            continue
        module = importlib.import_module(found.name)
        for _name, cls in inspect.getmembers(module, inspect.isclass):
            if issubclass(cls, base) and cls.__module__ == found.name:
                yield cls


VIEWSETS = [*classes_of_the_api(ViewSetMixin)]
SERIALIZERS = [*classes_of_the_api(BaseSerializer)]


def test_the_faces_are_found():
    assert {"ScheduledTaskAdmin", "TaskRunAdmin"} <= {cls.__name__ for cls in ADMINS}
    assert {"ScheduledTaskViewSet", "RunViewSet"} <= {cls.__name__ for cls in VIEWSETS}
    assert {"ScheduledTaskSerializer"} <= {cls.__name__ for cls in SERIALIZERS}


@pytest.mark.parametrize("cls", [*ADMINS, *VIEWSETS], ids=lambda cls: cls.__name__)
def test_an_admin_or_a_viewset_is_one_class(cls):
    assert ours_of(cls) == [cls]


@pytest.mark.parametrize("cls", ADMINS, ids=lambda cls: cls.__name__)
def test_the_addresses_of_an_admin_are_said_in_one_place(cls):
    assert len([base for base in ours_of(cls) if "get_urls" in vars(base)]) <= 1


@pytest.mark.parametrize("cls", SERIALIZERS, ids=lambda cls: cls.__name__)
def test_a_serializer_stands_in_one_module(cls):
    assert {base.__module__ for base in ours_of(cls)} == {cls.__module__}

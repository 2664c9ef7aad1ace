"""What an optional part needs, and one sentence where it is not there."""

from importlib.util import find_spec

from django.core.exceptions import ImproperlyConfigured

#: The modules of each extra of the wheel (`pip install "minutehand[api]"`).
MODULES = {
    "redis": ("redis",),
    "api": ("rest_framework", "django_filters", "drf_spectacular", "drf_standardized_errors"),
    "exchange": ("import_export",),
    "metrics": ("prometheus_client",),
}


class MissingExtra(ImproperlyConfigured):
    """A part is used whose packages are not installed."""

    def __init__(self, part: str, extra: str, modules: list[str]) -> None:
        super().__init__(
            f"{part} needs the packages of {', '.join(modules)}. "
            f'Install them: pip install "minutehand[{extra}]".'
        )


def missing(extra: str) -> list[str]:
    """The modules of the extra that cannot be imported here."""
    return [name for name in MODULES[extra] if find_spec(name) is None]


def need(extra: str, part: str) -> None:
    """Raise `MissingExtra` unless everything is there that `part` cannot do without."""
    if modules := missing(extra):
        raise MissingExtra(part, extra, modules)

"""The options of `create_one_time`, `create_interval` and `create_cron`: columns by name."""

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db.models import CharField, TextField
from django.utils.translation import gettext as _

from scheduling.validation.calls import Call, queue_name, whole_expiry
from scheduling.validation.columns import DECIDING, OTHERS

if TYPE_CHECKING:
    from scheduling.models import ScheduledTask

#: Arguments of their own, or said by which of the three is called.
_NO_OPTIONS = {"name", "task", "args", "kwargs", "kind"}


def columns_of(
    model: type["ScheduledTask"], call: Call, rule: dict[str, Any], options: dict[str, Any]
) -> dict[str, Any]:
    """The columns of a new row: the rule, the options, and for what they leave open (None, too)
    what a signature says. None for a text is its default. `ValidationError` names unknown
    options."""
    _check_names(rule, options)
    given = {name: value for name, value in options.items() if not _is_default(model, name, value)}
    if "queue" in given:
        given["queue"] = queue_name(given["queue"])
    signed = call.columns | whole_expiry(call)
    chosen = {
        name: value for name, value in given.items() if value is not None or name not in signed
    }
    return signed | chosen | rule


def _check_names(rule: dict[str, Any], options: dict[str, Any]) -> None:
    usable = {"id", "pk", *DECIDING, *OTHERS} - _NO_OPTIONS - {*rule}
    unknown = [name for name in options if name not in usable]
    if unknown:
        message = _("There is no option “%(option)s” here.")
        raise ValidationError(
            {
                name: ValidationError(message % {"option": name}, code="unknown_option")
                for name in unknown
            }
        )


def _is_default(model: type["ScheduledTask"], name: str, value: Any) -> bool:
    """Whether it is a None that stands for the default of a text."""
    if value is not None or name == "pk":
        return False
    field = model._meta.get_field(name)
    return isinstance(field, (CharField, TextField)) and not field.null

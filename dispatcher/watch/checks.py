"""Django system checks: what would break a promise, said before it does."""

from typing import Any

from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connection

from scheduling.database.session import is_pooled

ISOLATION = Error(
    "The database connection does not use READ COMMITTED.",
    hint=(
        "A tick must see what others have committed. Set "
        "DATABASES['default']['OPTIONS']['isolation_level'] = 'read committed'."
    ),
    id="dispatcher.E001",
)

SERVER_SIDE_CURSORS = Warning(
    "A pooler such as PgBouncer stands before the database, and Django uses server-side cursors.",
    hint=(
        "In transaction mode a cursor is gone before it is read. Set "
        "DATABASES['default']['DISABLE_SERVER_SIDE_CURSORS'] = True."
    ),
    id="dispatcher.W007",
)

_QUERIES = {
    "postgresql": "SHOW transaction_isolation",
    "mysql": "SELECT @@tx_isolation",
}


@register(Tags.database)
def check_isolation(databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check the isolation level. It asks the database, so it runs with `check --database default`
    and `migrate`."""
    query = _QUERIES.get(connection.vendor)
    if not databases or query is None:
        return []
    if connection.vendor == "mysql" and not connection.mysql_is_mariadb:  # type: ignore[attr-defined]
        query = "SELECT @@transaction_isolation"
    with connection.cursor() as cursor:
        cursor.execute(query)
        level = str(cursor.fetchone()[0]).lower().replace("-", " ")
    return [] if level == "read committed" else [ISOLATION]


@register(Tags.database)
def check_pooler(databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """No statement of ours needs a cursor of the server; the forms of Django's admin do."""
    if not databases or connection.vendor != "postgresql":
        return []
    disabled = connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS")
    return [] if disabled or not is_pooled(connection) else [SERVER_SIDE_CURSORS]

"""How far each question of the overview looks, at most."""

from datetime import timedelta

DAY = timedelta(hours=24)
HOUR = timedelta(hours=1)
#: Two missed ticks and a margin.
TICK_LIMIT = timedelta(seconds=150)
#: Runs that wait longer than this make a backlog.
BACKLOG_AGE = timedelta(minutes=2)
#: Of one outcome in one hour no more are counted.
HOUR_LIMIT = 10_000
#: How many of the newest runs a question about many of them looks at.
SAMPLE = 500
#: How many rows a list of the overview has.
SHOWN = 10

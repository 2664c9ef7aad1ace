"""The API of scheduled tasks and runs, and an app of its own: the tables of its tokens."""

from dispatcher.extras import need

need("api", "dispatcher.api")  # before anything in it is imported

"""The API of scheduled tasks and runs, and an app of its own: the tables of its tokens."""

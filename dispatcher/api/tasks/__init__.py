"""The API of scheduled tasks."""

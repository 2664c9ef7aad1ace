"""The admin of scheduled tasks."""

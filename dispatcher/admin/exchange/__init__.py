"""Scheduled tasks as files: export and import."""

"""The admin of runs."""

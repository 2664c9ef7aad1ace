#!/usr/bin/env python
"""Django's command line for this project."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError as error:
        raise SystemExit(
            f"{sys.executable} has no Django ({error}). Use .venv/bin/python manage.py, after "
            "`make run` or `make test` has made it, or activate your virtual environment."
        ) from error

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()

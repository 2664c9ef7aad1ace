# make run    everything, from nothing: set-up, database, broker, admin user, examples, processes
# make test   linters, types, contracts, then the whole suite on servers of its own
# make help   the rest

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
VENV ?= .venv
BIN := $(VENV)/bin

# pip uses nothing but the lock: a hash that differs stops the installation.
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r

# Settings for the checks only. The tests get theirs from tests/environment.py.
CHECK_ENV = ENV_FILE=/dev/null SECRET_KEY=only-for-the-checks-$(shell printf 'x%.0s' {1..40}) \
	DATABASE_URL=sqlite:// ALLOWED_HOSTS=localhost EXTRA_APPS=

.PHONY: help openapi screenshots run test lint types contract checks messages suite slow mutants format lock clean tools wheel

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/run.stamp ## set up and run everything; Ctrl-C ends it, the data stays
	@exec $(BIN)/python -m project.quickstart

test: $(VENV)/dev.stamp lint types contract checks tools suite ## everything that has to pass before a commit

lint: $(VENV)/dev.stamp ## ruff, without changing anything
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.stamp ## mypy, strict
	$(CHECK_ENV) $(BIN)/mypy

contract: $(VENV)/dev.stamp ## the import layers of the design
	$(BIN)/lint-imports

checks: $(VENV)/dev.stamp ## Django's checks, the deployment's too, and missing migrations
	$(CHECK_ENV) $(BIN)/python -W error manage.py check --fail-level WARNING
	$(CHECK_ENV) $(BIN)/python manage.py check --deploy --fail-level WARNING
	$(CHECK_ENV) $(BIN)/python manage.py makemigrations --check --dry-run

messages: $(VENV)/dev.stamp ## the translations: new strings in, unused ones out, compile; lists what is missing
	@$(BIN)/python -m project.catalogs

tools: $(VENV)/dev.stamp ## find what the tests need of the system (Chromium, curl), or install it
	@VENV=$(VENV) tests/find-tools

screenshots: $(VENV)/dev.stamp tools ## take the pictures of the documentation anew, into docs/images
	UPDATE_SCREENSHOTS=1 $(BIN)/python -m pytest tests/browser/test_pictures.py

# More than there are cores, because much of a test is waiting. Each has servers of its own, and whole files: processes of a file are started once.
SIDE_BY_SIDE ?= 3
suite: $(VENV)/dev.stamp ## the tests that take less than a minute each; ARGS="..." goes to pytest
	$(BIN)/python -m pytest -m "not slow" -n $(SIDE_BY_SIDE) --dist loadfile $(ARGS)

slow: $(VENV)/dev.stamp ## the tests that take longer
	$(BIN)/python -m pytest -m slow $(ARGS)

openapi: $(VENV)/dev.stamp ## write docs/openapi.yaml anew, from the code
	$(CHECK_ENV) $(BIN)/python manage.py spectacular --validate --fail-on-warn --lang en \
		--custom-settings dispatcher.api.openapi.description.SETTINGS --file docs/openapi.yaml

mutants: $(VENV)/dev.stamp ## does the suite notice a careless change? A sample; ARGS="--all", "--only gate", "--seed 7"
	$(BIN)/python -m tests.mutants $(ARGS)

format: $(VENV)/dev.stamp ## let ruff put the files in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# One resolution for all Pythons (>= 3.11) and platforms; the smaller locks are subsets of the largest.
COMPILE = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --quiet --upgrade \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"
lock: $(VENV)/dev.stamp ## resolve the ranges anew and write the three locks
	$(COMPILE) --group pyproject.toml:dev requirements.txt -o requirements-dev.lock
	$(COMPILE) --group pyproject.toml:run requirements.txt -c requirements-dev.lock -o requirements-run.lock
	$(COMPILE) requirements.txt -c requirements-dev.lock -o requirements.lock

wheel: $(VENV)/dev.stamp ## build dist/*.whl and dist/*.tar.gz, and let the tools of the package index look at them
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

clean: ## remove what make made; the data (.env, db.sqlite3, .run) stays
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .schemathesis .import_linter_cache staticfiles test-results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The first Python that is new enough. A shim may exist and still not run: each is tried.
$(VENV)/bin/python:
	@for python in $${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		echo "Creating $(VENV) with $$("$$python" --version) ..."; \
		"$$python" -m venv $(VENV) 2>/dev/null && exit 0; \
		rm -rf $(VENV); \
		"$$python" -m venv --without-pip $(VENV) && \
			"$$python" -m pip --python $(VENV) install --quiet pip && exit 0; \
		rm -rf $(VENV); \
	done; \
	echo "Minutehand needs Python 3.11 or newer with venv and pip; none was found." >&2; \
	echo "On Debian or Ubuntu: apt-get install python3 python3-venv" >&2; \
	echo "On Fedora: dnf install python3" >&2; \
	echo "Another one by its path: make PYTHON=/path/to/python3 ..." >&2; exit 1

# A stamp is newer than its lock once that lock is installed: the second run skips pip.
$(VENV)/run.stamp: requirements-run.lock | $(VENV)/bin/python
	@echo "Installing requirements-run.lock ..."
	@$(PIP_INSTALL) $<
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock | $(VENV)/bin/python
	@echo "Installing requirements-dev.lock ..."
	@$(PIP_INSTALL) $<
	@touch $@ $(VENV)/run.stamp

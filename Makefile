# Everything one does here. `make` alone says what there is.
#
# Needs Python 3.11 or newer, with its venv module and pip; `up` and `down` need Docker.
# `make setup PYTHON=python3.13` chooses the interpreter.

PYTHON ?= python3
ARGS ?=

VENV := .venv
STAMP := $(VENV)/.setup-stamp
UV_VERSION := 0.13.9

# Notes that end a line with two #: `help` prints them.
.DEFAULT_GOAL := help
.PHONY: help setup local test check audit format bench model lock secrets up down swarm

help: ## this list
	@sed -n 's/^\([a-z]*\):.* ## \(.*\)/  make \1\t\2/p' Makefile

setup: $(STAMP) ## make .venv with everything locked, and echod and fleet in its bin/

$(STAMP): requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, $(PYTHON) is older or not there: make $(MAKECMDGOALS) PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "$(PYTHON) can make no virtual environment (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@# Its warning that folders here have the names of packages is no news to who develops them.
	PYTHONWARNINGS=ignore $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

local: $(STAMP) ## the whole fleet without containers, until Ctrl-C (ARGS: see fleet up --help)
	@exec $(VENV)/bin/fleet up $(ARGS)

# Most tests wait more than they compute, so some run at a time; those marked `heavy` come after
# them, two at a time, and those marked `alone` at the end, one by one. pytest ends with 5 when
# none of its kind was asked for, and with 2 when it was interrupted.
WORKERS ?= 4
PAIR := $(if $(filter 0 1,$(WORKERS)),$(WORKERS),2)
PYTEST := $(VENV)/bin/python -m pytest

test: $(STAMP) ## everything that must pass; what can't run here is skipped, with the reason
	$(PYTEST) -n $(WORKERS) --dist worksteal -m "not heavy and not alone" $(ARGS); beside=$$?; \
	[ $$beside -ne 2 ] || exit 2; \
	$(PYTEST) -n $(PAIR) --dist loadscope -m heavy $(ARGS); heavy=$$?; \
	[ $$heavy -ne 2 ] || exit 2; \
	$(PYTEST) -m alone $(ARGS); alone=$$?; \
	case "$$beside$$heavy$$alone" in 555 | *[!05]*) exit 1 ;; esac

check: $(STAMP) ## format, lint, types, layers; YAML and Dockerfiles too
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache
	$(VENV)/bin/yamllint --strict .
	$(VENV)/bin/hadolint $(wildcard */Dockerfile */*/Dockerfile)

audit: $(STAMP) ## bills of materials into build/sbom/, and whether a hole in them is known
	$(VENV)/bin/python -m lab.audit

format: $(STAMP) ## put the Python files in shape
	$(VENV)/bin/ruff format
	$(VENV)/bin/ruff check --fix

bench: $(STAMP) ## measure the servers against each other (ARGS: see fleet bench --help)
	@exec $(VENV)/bin/fleet bench $(ARGS)

model: $(STAMP) ## walk every state of the rules for many shards (ARGS: --trace WITHOUT_S7; needs spin)
	@$(VENV)/bin/python -m lab.model $(ARGS)

# Each lock is a superset of the one before and held to its versions, so a container runs
# what was tested here.
COMPILE := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header
LOCK := $(COMPILE) pyproject.toml

lock: $(STAMP) ## the newest versions that pyproject.toml allows, into the requirements files (ARGS=--upgrade)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(LOCK) $(ARGS) --output-file server/requirements.txt
	$(LOCK) $(ARGS) --extra load --constraint server/requirements.txt --output-file loadtest/requirements.txt
	$(LOCK) $(ARGS) --extra load --extra lab --extra dev --constraint loadtest/requirements.txt --output-file requirements-dev.txt
	$(COMPILE) $(ARGS) lab/measure/peers/requirements.in --output-file lab/measure/peers/requirements.txt

secrets: $(STAMP) ## passwords and certificates of your own into secrets/own/ (ARGS: see fleet secrets --help)
	$(VENV)/bin/fleet secrets $(ARGS)

up: ## the whole fleet in containers, until Ctrl-C
	docker compose up --build

down: ## remove the containers and their networks
	docker compose down

swarm: $(STAMP) ## the whole fleet on a Docker Swarm of several machines (ARGS: see docs/swarm.md)
	@$(VENV)/bin/python -m lab.swarm $(ARGS)

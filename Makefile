# The only entry point. `make help` lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
export PYTHON PIP_DISABLE_PIP_VERSION_CHECK = 1
# Downloads may need a proxy; what runs here is not behind it.
export no_proxy := 127.0.0.1,localhost,$(or $(no_proxy),$(NO_PROXY))
unexport PYTHONDONTWRITEBYTECODE # or every process of the tests compiles everything anew
BIN := .venv/bin
MEMBERS := $(patsubst %/pyproject.toml,%,$(wildcard libs/*/pyproject.toml services/*/pyproject.toml deploy/devstack/pyproject.toml demo/pyproject.toml))

help: ## what can be done here
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

setup: .venv/members.stamp ## make .venv: locked requirements and every package of the workspace, editable

.venv/requirements.stamp: requirements.txt deploy/venv.sh
	@bash deploy/venv.sh .venv
	@touch $@

.venv/members.stamp: .venv/requirements.stamp $(addsuffix /pyproject.toml,$(MEMBERS))
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation $(addprefix --editable ,$(MEMBERS))
	$(BIN)/python -m pip check
	@touch $@

lock: setup ## resolve requirements.in into requirements.txt anew, with hashes
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options --output-file requirements.txt requirements.in

fmt: setup ## format, and mend what the linter can mend
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lint: setup ## ruff, formatting, types, architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup lint ## everything: lint, generated files fresh, all tests on local stacks of their own
	$(BIN)/python -m contracts.schemas --check
	$(BIN)/python -m pytest -n 4 --no-loadscope-reorder

generate: setup ## write the generated files anew
	$(BIN)/python -m contracts.schemas
	$(BIN)/python docs/generate.py
	$(BIN)/python deploy/observability/observability.py

demo: setup ## every story (invitations, shows, private goals, a purchase), played and told by the running stack, with short times
	$(BIN)/python -m demo

up: setup ## start the local stack in the background
	$(BIN)/devstack up

down: setup ## stop it
	$(BIN)/devstack down

status: setup ## what runs, and where it listens
	$(BIN)/devstack status

bench: setup ## ratios against hand-written anchors
	$(BIN)/python bench/run.py

clean: ## remove .venv and all caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help setup lock fmt lint test generate demo up down status bench clean

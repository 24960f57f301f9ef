# Two commands matter: `make demo` shows a hospital's day, `make test` proves it. `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help install install-test demo up down test lint bench soak lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: install  ## a simulated hospital's day through Airflow; ONCE=1 ends by itself, else it stays up until Ctrl-C
	@$(BIN)/python -m sluice demo $(if $(ONCE),--once)

up: install  ## start the embedded stack in the background for daily work (data in var/up)
	@$(BIN)/python -m sluice up

down:  ## stop what `make up` started
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m sluice down; fi

test: install-test lint  ## all checks and all tests; installs what they need
	@scripts/debian-packages
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: install-test  ## ruff, ruff format, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install-test  ## benchmarks beside their peers; ONLY=name runs one
	@$(BIN)/python -m benchmarks $(ONLY)

soak: install-test  ## retrievals under kill -9, beside what PACS and disk say; SEEDS=20 INSTANCES=5000
	@$(BIN)/python -m benchmarks.soak $(if $(SEEDS),--seeds $(SEEDS)) $(if $(INSTANCES),--instances $(INSTANCES))

install:  ## make .venv hold what requirements.txt pins
	@PYTHON="$(PYTHON)" scripts/install

install-test:  ## the same, and what the tests need
	@PYTHON="$(PYTHON)" scripts/install test

lock: install  ## compile requirements*.in into requirements*.txt
	$(BIN)/uv pip compile -q requirements.in -o requirements.txt --no-header --no-emit-index-url --upgrade
	$(BIN)/uv pip compile -q requirements-test.in -o requirements-test.txt --no-header --no-emit-index-url --upgrade

clean: down  ## stop the stack, remove var/, caches and .venv
	rm -rf var .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The commands of this project. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# The first interpreter of a supported version on this machine; PYTHON=... chooses another.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin

$(VENV)/ready: requirements.txt
	@[ -n "$(PYTHON)" ] || { echo "no Python 3.10 to 3.12 found: install one, or run make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "setting up $(VENV) with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv --clear $(VENV) || { echo "python -m venv failed: on Debian and Ubuntu, install python3-venv" >&2; exit 1; }
	@awk '/^uv==/ {on=1} on {print} on && !/\\$$/ {exit}' requirements.txt > $(VENV)/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(VENV)/uv.txt
	@$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes --python $(BIN)/python requirements.txt
	@touch $@

.PHONY: setup
setup: $(VENV)/ready  ## set up the virtual environment from the locked requirements

.PHONY: run
run: $(VENV)/ready  ## train, compare and, when the model is better, release it (starts emulator and Prefect server)
	@$(BIN)/python -m flows.main

.PHONY: deploy
deploy: $(VENV)/ready  ## deploy the flows to the Prefect server, with their work pool
	@$(BIN)/python -m flows.deployments deploy

.PHONY: worker
worker: $(VENV)/ready  ## carry out what was deployed, until Ctrl-C
	@$(BIN)/python -m flows.deployments worker

.PHONY: down
down: $(VENV)/ready  ## stop the emulator and the Prefect server
	@$(BIN)/python -m flows.prefect_server stop
	@$(BIN)/python -m emulator stop

.PHONY: test
test: $(VENV)/ready  ## all tests; installs Debian's SSH server when it is missing
	@test -x /usr/sbin/sshd || { echo "installing openssh-server ..." && \
		apt-get update -qq && apt-get install -y -qq openssh-server >/dev/null; }
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m unit
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "emulator or flow"

.PHONY: test-backends
test-backends: $(VENV)/ready  ## whole runs with each compute, distributed backend, framework and sampling method
	@$(BIN)/python -m pytest -m backends --numprocesses 2 --dist loadfile

.PHONY: test-reliability
test-reliability: $(VENV)/ready  ## flows killed at each step and started again, releases under a stream of requests
	@$(BIN)/python -m pytest -m reliability --numprocesses 2 --dist loadfile

.PHONY: screenshots
screenshots: $(VENV)/ready  ## take the pictures in docs/ anew, of the last promoting run on the Prefect server
	@$(BIN)/python -m docs.screenshots

.PHONY: test-browser
test-browser: $(VENV)/ready  ## what Prefect's UI shows of a run; installs Debian's Chromium when it is missing
	@command -v chromium >/dev/null || { echo "installing chromium ..." && \
		apt-get update -qq && apt-get install -y -qq chromium >/dev/null; }
	@$(BIN)/python -m pytest -m browser

.PHONY: test-pytorch
test-pytorch: $(VENV)/ready  ## torch.distributed in a run, with a PyTorch that is installed for it
	@test -x .pytorch/bin/python || { echo "installing torch in .pytorch ..." && $(PYTHON) -m venv .pytorch; }
	@.pytorch/bin/python -c "import torch, numpy" 2>/dev/null || \
		.pytorch/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy
	@PYTORCH_PYTHON=$(CURDIR)/.pytorch/bin/python $(BIN)/python -m pytest -m pytorch

.PHONY: test-postgresql
test-postgresql: $(VENV)/ready  ## the tests of a Prefect server for teams; installs Debian's PostgreSQL when it is missing
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { echo "installing postgresql ..." && \
		apt-get update -qq && apt-get install -y -qq postgresql >/dev/null; }
	@$(BIN)/python -m pytest -m postgresql

.PHONY: mutants
mutants: $(VENV)/ready  ## break the model gate in every way that mutmut knows, and fail when its tests do not notice
	@rm -rf mutants
	@$(BIN)/python -m mutmut run --max-children 2 >mutants.log 2>&1 || { tail -n 40 mutants.log; exit 1; }
	@$(BIN)/python -m mutmut results --all true | awk '$$2 != "killed" {print; alive++} \
		END {print NR - alive " of " NR " mutants killed"; exit alive || !NR}'

.PHONY: lint
lint: $(VENV)/ready  ## ruff, mypy, import-linter, the workflows, and that generated files are fresh
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m settings schema --check
	@$(BIN)/python -m emulator routes --check
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	@$(BIN)/zizmor --offline --quiet --no-progress --persona=auditor .github
	@$(BIN)/hadolint Dockerfile

.PHONY: bench
bench: $(VENV)/ready  ## measure what benchmarks/README.md states
	@$(BIN)/python -m benchmarks.emulator
	@$(BIN)/python -m benchmarks.training
	@$(BIN)/python -m benchmarks.promotion
	@$(BIN)/python -m benchmarks.prefect_overhead
	@$(BIN)/python -m benchmarks.tuning

.PHONY: format
format: $(VENV)/ready  ## format the code
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

.PHONY: lock
lock: $(VENV)/ready  ## make requirements.txt anew from pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --all-extras --generate-hashes --no-header \
		--no-emit-index-url --no-emit-find-links --upgrade pyproject.toml --output-file requirements.txt

.PHONY: clean
clean: down  ## stop everything and remove the virtual environment, all local state and reports
	@rm -rf $(VENV) .pytorch .emulator .prefect reports

.PHONY: help
help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Everything runs in .venv, which is made on first use. pip is called again only when pyproject.toml, constraints.txt
# or the checkout's place changes, so a second run needs no network.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest

# The stamps carry a checksum of what was installed, not a date: switching branches touches dates.
KEY := $(shell { pwd; cat pyproject.toml constraints.txt; } | cksum | tr -cd '0-9')
RUN := $(VENV)/.installed-$(KEY)
DEV := $(VENV)/.installed-dev-$(KEY)

.DEFAULT_GOAL := help
.PHONY: help demo test lint types imports test-postgres test-container test-trainers test-vllm test-ray test-browser pictures test-openenv test-docker test-ppo bench constraints clean distclean

help: ## Print this list
	@echo "make TARGET [PYTHON=python3.12] [ARGS='-k name']"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(RUN) ## Score agents on a tool environment, then train one from nothing: tables, stored runs, pages to look at
	$(BIN)/tir-gym demo $(ARGS)

test: $(DEV) ## All tests that need nothing but pip's packages
	$(PYTEST) -n auto $(ARGS)

lint: $(DEV) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV) ## mypy --strict over the whole package
	$(BIN)/mypy

imports: $(DEV) ## The floors: imports only point down
	$(BIN)/lint-imports --no-logo

test-postgres: $(DEV) ## The trace store and the SQL sandbox on a real PostgreSQL server
	@bash tests/postgres.sh $(BIN)/python $(ARGS) || [ $$? -eq 77 ] # 77: no server here, as it has said

test-container: $(DEV) ## Containers and the attacks on them, on a real engine
	@bash tests/container.sh $(BIN)/python $(ARGS) || [ $$? -eq 77 ] # 77: no engine here, as it has said

test-browser: $(DEV) ## The viewer in a real browser; screenshots under build/screenshots
	@bash tests/browser.sh $(BIN)/python $(ARGS) || [ $$? -eq 77 ] # 77: no browser here, as it has said

pictures: $(DEV) ## The pictures in docs/images made anew, in Chromium; ARGS='--training DIR' for the curves too
	$(BIN)/python docs/pictures.py $(ARGS)

test-openenv: $(DEV) ## The server driven by OpenEnv's own clients, in a venv of their own
	@bash tests/openenv.sh $(BIN)/python

test-docker: $(DEV) ## The server's image built and run, on a Docker of its own
	@bash tests/docker.sh $(BIN)/python || [ $$? -eq 77 ] # 77: no engine here, as it has said

test-ppo: $(DEV) ## What masks are worth to the agent without a language model: a minute or two of learning
	$(PYTEST) -s -n 0 tests/ppo_gate.py $(ARGS)

test-vllm: ## The engines on vLLM itself, in a virtual environment of their own (3.4 GB)
	@bash tests/vllm.sh $(PYTHON) $(ARGS)

test-ray: ## Environments on a Ray cluster that loses a node, in a virtual environment of its own
	@bash tests/ray.sh $(PYTHON) $(ARGS)

test-trainers: $(DEV) ## Other people's trainers on our environments, each in its own venv; ARGS=trl for one of them
	@bash tests/trainers.sh $(BIN)/python $(ARGS)

bench: $(DEV) ## Measure what docs/benchmarks.md reports
	$(BIN)/python benchmarks/environment.py
	$(BIN)/python benchmarks/matching.py
	$(BIN)/python benchmarks/advantages.py
	$(BIN)/python benchmarks/rollouts.py
	$(BIN)/python benchmarks/engines.py
	$(BIN)/python benchmarks/jail.py
	$(BIN)/python benchmarks/sql.py
	$(BIN)/python benchmarks/mcp_calls.py
	$(BIN)/python benchmarks/server.py
	$(BIN)/python benchmarks/viewer.py

constraints: ## Resolve all dependencies afresh and write constraints.txt
	rm -rf build/resolve && $(PYTHON) -m venv build/resolve
	build/resolve/bin/python -m pip install --quiet --upgrade --editable '.[all,wasi,ray,dev]'
	@{ echo "# Exact versions that a checkout is installed and tested with; the ranges in pyproject.toml are what users get."; \
	echo "# Written by: make constraints"; \
	build/resolve/bin/python -m pip freeze --exclude-editable; } > constraints.txt
	rm -rf build/resolve

clean: ## Remove caches and built packages; runs under outputs/ stay
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name .venv -prune -o -type d -name __pycache__ -exec rm -rf {} +

distclean: clean ## clean, and remove .venv
	rm -rf $(VENV)

$(RUN):
	@$(call install,.[train])
	@touch $@

$(DEV):
	@$(call install,.[dev])
	@touch $(RUN) $@

# Constraints reach the isolated build of the package too, by the one name that old pips read and the other that new
# ones do.
define install
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	found=$$($(PYTHON) --version 2>/dev/null || echo "not to be found"); \
	echo "error: tir-gym needs Python 3.11 or newer, and '$(PYTHON)' is $$found." >&2; \
	echo "       Name one that is: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; }; \
$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	echo "error: '$(PYTHON)' cannot make virtual environments: its venv or ensurepip module is missing." >&2; \
	echo "       On Debian and Ubuntu: apt install python3-venv. Or: make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; \
	exit 1; }; \
$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || exit 1; \
echo "Installing tir-gym$(patsubst .%,%,$(1)) into $(VENV) ..."; \
rm -f $(VENV)/.installed-*; \
PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
	$(BIN)/python -m pip install --quiet --editable '$(1)'
endef

# streamb: `make run` starts the platform, `make test` checks everything. Needs Python >= 3.11 and make, nothing else.
# Works with GNU make 3.81 (macOS) and later. `make help` lists the targets.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)

.DEFAULT_GOAL := help
unexport PYTHONDONTWRITEBYTECODE # every process would compile our modules again
.PHONY: help run test fast soak bench map audit clean format

help:
	@echo "make run     start the platform on http://127.0.0.1:8000 with a sample model (Ctrl-C stops it)"
	@echo "make test    format check, lint, types, import layers, all tests"
	@echo "make fast    the quick tests: no Ray, no processes (under a minute)"
	@echo "make soak    models of every kind, candidates and faults that take long; goes on where it was (installs XGBoost, …)"
	@echo "make bench   measure serving next to FastAPI, Ray Serve and LitServe (needs wrk)"
	@echo "make map     write the file map, the table of settings and the points of the protocol in docs/ anew"
	@echo "make audit   bandit over the code, pip-audit over every pinned package (needs an index that knows vulnerabilities)"
	@echo "make format  format the code and apply safe lint fixes"
	@echo "make clean   remove what make and the tests made; keeps .streamb, where your models are"

run: $(VENV)/.ready
	@$(BIN)/streamb up

test: $(VENV)/.ready-dev
	@echo "== format" && $(BIN)/ruff format --check .
	@echo "== lint" && $(BIN)/ruff check .
	@echo "== types" && $(BIN)/mypy
	@echo "== layers" && $(BIN)/lint-imports --no-logo
	@echo "== tests without Ray" && $(BIN)/pytest -n auto --maxprocesses=4 -m "not ray and not fault and not soak"
	@echo "== tests on a real Ray" && $(BIN)/pytest -m "(ray or fault) and not soak"

fast: $(VENV)/.ready-dev
	@$(BIN)/pytest -n auto --hypothesis-profile=fast -m "not ray and not fault and not slow and not soak"

soak: $(VENV)/.ready-zoo
	@mkdir -p .soak && $(BIN)/pytest -m soak --resume .soak/passed.json || [ $$? -eq 5 ] # 5: everything has passed already

bench: $(VENV)/.ready-bench
	@command -v wrk >/dev/null || { echo "make bench needs wrk: 'apt-get install wrk' (Debian), 'brew install wrk' (macOS)"; exit 1; }
	@$(BIN)/python -m benchmarks.serving

map: $(VENV)/.ready-dev
	@$(BIN)/python -m tests.documented

audit: $(VENV)/.ready-dev
	@$(BIN)/python -m tests.audit

format: $(VENV)/.ready-dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp per set of extras; a changed pin or dependency installs again, an unchanged one costs nothing.
$(VENV)/.ready: constraints.txt pyproject.toml | $(BIN)/python
	$(call install,.)

$(VENV)/.ready-dev: constraints.txt pyproject.toml | $(BIN)/python
	$(call install,.[dev$(comma)apprise$(comma)plot$(comma)postgres$(comma)s3])

$(VENV)/.ready-zoo: constraints.txt pyproject.toml | $(BIN)/python
	$(call install,.[dev$(comma)apprise$(comma)plot$(comma)postgres$(comma)s3$(comma)zoo])

$(VENV)/.ready-bench: constraints.txt pyproject.toml | $(BIN)/python
	$(call install,.[bench])

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "streamb needs Python 3.11 or newer; found: $$(python3 --version 2>&1). Install one, or: make PYTHON=/path/to/python3.12"; exit 1; }
	@echo "creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) >$(VENV).log 2>&1 || { cat $(VENV).log; rm -rf $(VENV) $(VENV).log; \
		echo; echo "Python has no venv module here; on Debian: apt-get install python3-venv"; exit 1; }
	@rm -f $(VENV).log

comma := ,
# $(1): what to install. Shows what is downloaded (the large ones), keeps the whole story in $(VENV)/install.log.
define install
	@echo "installing $(1) with the pins of constraints.txt (the first time takes minutes; log: $(VENV)/install.log)"
	@set -o pipefail; start=$$SECONDS; \
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -c constraints.txt -e '$(1)' 2>&1 \
		| tee $(VENV)/install.log | awk '/Downloading .* MB\)/ { split($$2, part, "-"); print "  downloading " part[1], part[2], $$3, $$4; fflush() } /Installing collected/ { print "  unpacking"; fflush() }' \
	|| { tail -n 20 $(VENV)/install.log; echo "the installation failed; the whole log is in $(VENV)/install.log"; exit 1; }; \
	echo "installed in $$((SECONDS - start)) s"
	@touch $@
endef

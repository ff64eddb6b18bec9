# `make demo` and `make test` work on a fresh machine with Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Processes that share the tests out: a share each in their order, as neighbours share what they train, then what is left.
WORKERS ?= 2

.PHONY: demo test lint docs architecture install dev clean

demo: install
	$(BIN)/infoplane record -o runs/demo.h5 --force
	$(BIN)/infoplane plot runs/demo.h5
	@echo "Look at runs/demo-plane.png and runs/demo-time.png"

test: dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Warnings are errors, and the scripts of the gallery run.
docs: dev
	$(BIN)/python -m sphinx -q -W --keep-going -b html -c docs . build/site
	@echo "Look at build/site/docs/index.html"

architecture: dev
	$(BIN)/python docs/architecture.py

install: $(VENV)/installed
dev: $(VENV)/installed-dev

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/installed-dev: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[dev,test-models]"
	@touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) build *.egg-info

# What one does here. `make demo` and `make test` set everything up by themselves, with Python 3.10 or later.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo
# a path of its own, so that programs run from here find the environment's python first
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: help install demo test lint clean

help:
	@echo "make demo     try everything on synthetic images: train, evaluate, segment; results in $(DEMO)/"
	@echo "make test     run all tests"
	@echo "make lint     check the code's form"
	@echo "make clean    remove the environment and the demo's results"

install: $(VENV)/installed

$(VENV)/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'error: Python 3.10 or later is needed; name one: make PYTHON=python3.12 ...')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	@touch $@

demo: install
	./demo.sh $(DEMO)

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "ruff>=0.6"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) $(DEMO) *.egg-info

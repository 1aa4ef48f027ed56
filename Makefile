# What one does here. `make demo` and `make test` set everything up by themselves, with Python 3.10 or later.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo
# a path of its own, so that programs run from here find the environment's python first
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: help install demo browser test integration lint clean

help:
	@echo "make demo     try everything on synthetic images: segment, train, evaluate; results in $(DEMO)/"
	@echo "make test     run all tests but make integration's"
	@echo "make integration  try the packaged bundle in MONAI Label"
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

# Chromium, in which a test opens the report; where it cannot be installed here, that test says what is missing
browser:
	@command -v chromium > /dev/null && command -v chromedriver > /dev/null || \
	  { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver; } || true

test: install browser
	$(BIN)/python -m pytest -m "not integration"

# with a real MONAI Label server, in an environment of its own of some gigabytes, which is made once, in ~/.cache
integration: install
	$(BIN)/python -m pytest -m integration -rP

lint: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "ruff>=0.6"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) $(DEMO) *.egg-info

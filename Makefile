# What one does here. `make demo` and `make test` set everything up by themselves, with Python 3.11 or later.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo
# two files of tests at a time: much of their time is Python's own imports, on one core
TWO := -n 2 --dist loadfile
# and then torch's threads would wait for each other
test test-min: export OMP_NUM_THREADS := 1
# a path of its own, so that programs run from here find the environment's python first
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: help install demo demo-3d browser desktop test test-min integration napari lint docs clean

help:
	@echo "make demo         try everything on synthetic images: segment, train, evaluate; results in $(DEMO)/"
	@echo "make demo-3d      the same with volumes and several classes; results in $(DEMO)-3d/"
	@echo "make test         run all tests but those of make integration and make napari, with coverage"
	@echo "make test-min     run the fast tests with the lowest versions that setup.cfg allows"
	@echo "make integration  try the packaged bundle in MONAI Label, and the instances in ImageJ"
	@echo "make napari       try the napari plugin in a window, of a virtual screen"
	@echo "make lint         check form, types and the layers of imports"
	@echo "make docs         build the documentation into site/"
	@echo "make browser      install the Chromium of the report's tests, as root on Debian or Ubuntu"
	@echo "make desktop      install ImageJ, and the screen of make napari, as root on Debian or Ubuntu"
	@echo "make clean        remove the environments and what was built"

install: $(VENV)/installed

$(VENV)/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'error: Python 3.11 or later is needed; name one: make PYTHON=python3.12 ...')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

demo: install
	./demo.sh $(DEMO)

demo-3d: install
	./demo.sh $(DEMO)-3d 3

HAS_BROWSER = { command -v chromium || command -v chromium-browser || command -v google-chrome; } > /dev/null && \
  command -v chromedriver > /dev/null

browser:
	@$(HAS_BROWSER) || \
	  { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver; }

test: install
	@$(MAKE) --silent browser > /dev/null 2>&1; \
	if $(HAS_BROWSER); then marks="not integration"; else \
	  echo "Without Chromium and its driver, the tests that open the report are left out; make browser installs them"; \
	  marks="not integration and not browser"; \
	fi; \
	$(BIN)/python -m pytest $(TWO) --cov -m "$$marks"

# torch stays at constraints.txt's version here
test-min: $(VENV)-min/installed
	$(VENV)-min/bin/python -m pytest $(TWO) -m "not slow and not integration and not browser"

$(VENV)-min/installed: setup.cfg constraints.txt tests/packaging/requirements.py | install
	$(PYTHON) -m venv --clear $(VENV)-min
	$(BIN)/python tests/packaging/requirements.py > $(VENV)-min/lowest.txt
	$(VENV)-min/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-min/bin/python -m pip install --quiet --constraint $(VENV)-min/lowest.txt --editable ".[test]"
	@touch $@

# an X server with GLX, which is virtual, what Qt needs for it, and ImageJ
DESKTOP := imagej xvfb xauth libxcb-icccm4 libxcb-keysyms1 libxcb-cursor0 libxcb-image0 libxcb-randr0 libxcb-render-util0 \
  libxcb-shape0 libxcb-xinerama0 libxkbcommon-x11-0 libegl1 libgl1 libgl1-mesa-dri
desktop:
	@{ command -v xvfb-run && command -v imagej; } > /dev/null || \
	  { apt-get update -qq && apt-get install -y -qq --no-install-recommends $(DESKTOP); }

# with a real MONAI Label server, in an environment of its own of some gigabytes, which is made once, in ~/.cache
integration: install desktop
	$(BIN)/python -m pytest -m integration -rPfE

# in an environment of its own, which is made once, in ~/.cache
napari: install desktop
	python=$$(tests/napari/environment.sh) && \
	  xvfb-run --auto-servernum --server-args="-screen 0 1600x1000x24" $$python -m pytest tests/napari

lint: install
	$(BIN)/pre-commit run --all-files
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: install
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) $(VENV)-min $(DEMO) $(DEMO)-3d site *.egg-info

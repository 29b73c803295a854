# The commands of the README. Each makes its own environment; none needs a GPU or weights.
PYTHON ?= python3
# Only this development environment names a torch version; requirements.txt never does.
TORCH ?= torch==2.13.0
# The tests' own files are UTF-8 on Windows too; the library names the encoding wherever it opens a text.
export PYTHONUTF8 := 1
VENV := .venv
PY := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts/python.exe,bin/python)
# The ComfyUI to test in; where it cannot be made, its tests are skipped and say why.
COMFYUI := -$(PYTHON) tests/support/make_comfyui.py .comfyui --torch "$(TORCH)"
# Where the reference's full golden data and the test clip lie, if this checkout has them beside it.
SHARED ?= $(wildcard ../shared)
ifneq ($(SHARED),)
export SVFR_GOLDEN_DIR ?= $(abspath $(SHARED)/golden/svfr)
export SVFR_TEST_DATA ?= $(abspath $(SHARED)/data)
endif

.PHONY: test test-slow test-mutations test-versions test-frontends demo lint docs pictures bench bench-gpu clean

$(VENV)/.installed: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet "$(TORCH)"
	$(PY) -m pip install --quiet -r requirements-dev.txt
	touch $@

test: lint
	$(COMFYUI)
	$(PY) -m pytest -n auto

test-slow: $(VENV)/.installed
	$(COMFYUI)
	$(PY) -m pytest -m slow

test-mutations: $(VENV)/.installed
	$(COMFYUI)
	$(PY) tests/mutations/run.py

# Pythons, diffusers, OpenCV and ComfyUI's frontend, each combination in an environment of its own: an hour or more.
test-versions:
	$(PYTHON) tests/support/versions.py build/versions --torch "$(TORCH)" --readme README.md

# Every template, Compare, the dialog of faces and the first minute in both frontends and renderers: an hour or more.
test-frontends: $(VENV)/.installed
	$(COMFYUI)
	$(PY) tests/support/frontends.py build/frontends

demo: $(VENV)/.installed
	$(PY) -m svfr_model demo --out demo_output

lint: $(VENV)/.installed
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) tests/support/lint_nodes.py
	$(PY) tests/support/lint_imports.py

# The tables of the help pages, from what a ComfyUI server says of the nodes.
docs: $(VENV)/.installed
	$(COMFYUI)
	$(PY) tests/support/help_pages.py

# The screenshots of docs/pictures: wants Chromium. Look at them before you commit them.
pictures: $(VENV)/.installed
	$(COMFYUI)
	SVFR_PICTURES=docs/pictures $(PY) -m pytest tests/comfy/server/test_first_minute.py \
		tests/comfy/server/test_faces.py tests/comfy/server/test_frontend.py -k "clicks or clicked or finds or complaint"

bench: $(VENV)/.installed
	$(PY) benchmarks/engine.py

# On a machine with a GPU, ten minutes at most: a table for docs/speed.md, in bench-gpu.md.
bench-gpu: $(VENV)/.installed
	$(PY) benchmarks/gpu.py

clean:
	rm -rf $(VENV) demo_output

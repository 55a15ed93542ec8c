# Two commands do everything on a fresh machine: `make demo` and `make test`.
# `TORCH` is what pip installs as torch, and may say from where: TORCH="torch --index-url ..." for a given CUDA version,
# TORCH="torch --find-links FOLDER" for wheels of yours. The hosts' torchvision and torchaudio come from there too.
TORCH ?= torch==2.13.0
ifeq ($(origin TORCH),file)
# PyPI's torchvision and torchaudio for Linux are built for CUDA: the hosts get all three as torch builds them for CPUs.
HOST_TORCH := $(TORCH) --index-url https://download.pytorch.org/whl/cpu
else
HOST_TORCH := $(TORCH)
endif

VENV := .venv
ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := $(VENV)/Scripts
else
PYTHON ?= python3
BIN := $(VENV)/bin
endif
STAMP := $(VENV)/.installed

# The oldest PyAV of the oldest ComfyUI that we run in, one in the middle, and the newest.
PYAV := 14.2.0 16.0.0
MEDIA_TESTS := tests/media tests/runs/test_run.py

.PHONY: demo test test-host test-pyav test-quantised bench-real-size lint clean

demo: $(STAMP)
	$(BIN)/everanimate demo --out demo

# One process for each core, and in it one thread, which tests/conftest.py sees to.
test: $(STAMP) lint
	$(BIN)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder

# The tests inside real ComfyUIs: those of tests/host/versions.txt, cloned and installed under .hosts/, or the one that
# COMFYUI_PATH and COMFYUI_PYTHON name. HOSTS="0.33.0" takes fewer versions, HOST_TESTS="tests/host/test_lora.py -x" is
# handed to pytest, and COMFYUI_GIT is another address to clone from.
test-host:
	$(PYTHON) tests/host/run.py --torch "$(HOST_TORCH)" $(if $(HOSTS),--versions $(HOSTS)) \
		$(if $(COMFYUI_GIT),--git "$(COMFYUI_GIT)") -- $(HOST_TESTS)

# The tests of videos, pictures and sound under each of these PyAVs, and under the one that is installed.
test-pyav: $(STAMP)
	for version in $(PYAV); do \
		$(BIN)/python -m pip install -q --no-deps --target $(VENV)/pyav-$$version av==$$version && \
		PYTHONPATH=$(VENV)/pyav-$$version $(BIN)/python -m pytest -q $(MEDIA_TESTS) || exit 1; \
	done
	$(BIN)/python -m pytest -q $(MEDIA_TESTS)

# The tests of frozen weights in 8 bits, under torchao, which stays out of the environment: it adds lines to what every
# command says.
test-quantised: $(STAMP)
	$(BIN)/python -m pip install -q --no-deps --target $(VENV)/torchao 'torchao>=0.18'
	PYTHONPATH=$(VENV)/torchao $(BIN)/python -m pytest -q tests/training/test_quantised.py \
		tests/training/test_loop.py -k "quantised or byte or bits"

# Time, memory and what must hold with networks of real size and random weights, inside the ComfyUI that COMFYUI_PATH and
# COMFYUI_PYTHON name, on a machine with a GPU; in under eight minutes. Another start goes on with what is left.
bench-real-size:
	$(or $(COMFYUI_PYTHON),$(PYTHON)) tests/benchmarks/bench_real_size.py --budget 460

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/comfy --skip-prompt --no-enable-telemetry node validate

$(STAMP): pyproject.toml requirements.txt
	@echo "Installing torch and all other packages into $(VENV)/, which takes some minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q $(TORCH)
	$(BIN)/python -m pip freeze | grep '^torch==' > $(VENV)/constraints.txt
	$(BIN)/python -m pip install -q -c $(VENV)/constraints.txt -e '.[batch,cli,dev,eval,train]'
	touch $@

clean:
	rm -rf $(VENV) .hosts demo

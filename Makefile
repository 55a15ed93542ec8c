# Two commands do everything on a fresh machine: `make demo` and `make test`.
# `TORCH` may name another build, for example TORCH="torch --index-url ..." for a given CUDA version.
TORCH ?= torch==2.13.0
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed

# The oldest PyAV of the oldest ComfyUI that we run in, one in the middle, and the newest.
PYAV := 14.2.0 16.0.0
MEDIA_TESTS := tests/test_video.py tests/test_video_open.py tests/test_pictures.py tests/test_sound.py tests/test_run.py

.PHONY: demo test test-pyav lint clean

demo: $(STAMP)
	$(VENV)/bin/everanimate demo --out demo

# One thread: the tests' networks are tiny, and threads cost them more than they give.
test: $(STAMP) lint
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q

# The tests of videos, pictures and sound under each of these PyAVs, and under the one that is installed.
test-pyav: $(STAMP)
	for version in $(PYAV); do \
		$(VENV)/bin/python -m pip install -q --no-deps --target $(VENV)/pyav-$$version av==$$version && \
		PYTHONPATH=$(VENV)/pyav-$$version OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q $(MEDIA_TESTS) || exit 1; \
	done
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q $(MEDIA_TESTS)

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/comfy --skip-prompt --no-enable-telemetry node validate

$(STAMP): pyproject.toml requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -q $(TORCH)
	$(VENV)/bin/python -m pip freeze | grep '^torch==' > $(VENV)/constraints.txt
	$(VENV)/bin/python -m pip install -q -c $(VENV)/constraints.txt -e '.[cli,dev,eval,train]'
	touch $@

clean:
	rm -rf $(VENV) demo

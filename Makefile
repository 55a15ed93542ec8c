# Two commands do everything on a fresh machine: `make demo` and `make test`.
# `TORCH` may name another build, for example TORCH="torch --index-url ..." for a given CUDA version.
TORCH ?= torch==2.13.0
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed

.PHONY: demo test lint clean

demo: $(STAMP)
	$(VENV)/bin/everanimate demo --out demo

# One thread: the tests' networks are tiny, and threads cost them more than they give.
test: $(STAMP) lint
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q

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

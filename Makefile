# Everything here works on a fresh checkout: each target makes the virtual environment that it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

WORKERS ?= 3 # processes of tests at a time; on two cores, since many tests wait for processes that they have started
EMPTY ?= build/empty

.PHONY: sweep test lint check package docs bench bench-priors bench-search faults examples screenshots format clean

sweep: $(VENV)/installed
	$(BIN)/python -m hpsearch sweep spaces/resnet.yaml $(SWEEP_ARGS)

test: $(VENV)/installed
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint
	$(BIN)/python -m pytest -m "not ray and not ddp and not slow"

docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --clean --quiet
	@echo "Open build/docs/index.html, or with search: $(BIN)/python -m http.server --directory build/docs"

# The sdist, the wheel that is made from it, and a sweep with that wheel in the environment EMPTY, which is made.
package:
	rm -rf build/package build/empty
	$(PYTHON) -m venv build/package/tools
	build/package/tools/bin/python -m pip install --quiet --constraint constraints.txt build
	build/package/tools/bin/python -m build --outdir build/package/dist
	$(PYTHON) tests/package/check.py build/package/dist $(EMPTY)

bench: $(VENV)/installed
	$(BIN)/python -m benchmarks.trial_processes
	$(BIN)/python -m benchmarks.ledger
	$(BIN)/python -m benchmarks.reading
	$(BIN)/python -m benchmarks.fit
	$(BIN)/python -m benchmarks.shared_data
	$(BIN)/python -m benchmarks.sentinel

bench-priors: $(VENV)/installed
	$(BIN)/python -m benchmarks.priors

bench-search: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[bench]"
	$(BIN)/python -m benchmarks.search --plot benchmarks/search/regret.svg $(BENCH_ARGS)
	$(BIN)/python -m benchmarks.ask_tell

faults: $(VENV)/installed
	$(BIN)/python -m tests.faults.campaign --seeds 1000 --real 20

examples: $(VENV)/installed
	HPSEARCH_TEST_ALL_EXAMPLES=1 $(BIN)/python -m pytest tests/integration/test_ray_examples.py tests/test_guide.py
	HPSEARCH_TEST_ALL_EXAMPLES=1 $(BIN)/python -m pytest --timeout 0 tests/contract/test_conditional_spaces.py -k hundreds

screenshots: $(VENV)/installed
	$(BIN)/python docs/screenshots/make.py

format: $(VENV)/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info

# Two commands for a newcomer: `make demo` and `make test`. Both install first; nothing else is needed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test check format bench faults clean help

help:
	@echo "make demo     install, then simulate data and run the main job"
	@echo "make test     install, then run the tests"
	@echo "make check    format, lint, types and import rules"
	@echo "make bench    speed against a plain dense implementation (pysaliency, the bare network), same run"
	@echo "make faults   the long fault runs (kills at random moments)"
	@echo "make clean    remove what these commands made"

install: .venv/installed

.venv/installed: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: install
	$(BIN)/clickmap demo --overwrite

test: install
	$(BIN)/python -m pytest -n 2

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install
	$(BIN)/python -m tests.benchmarks.prepare
	$(BIN)/python -m tests.benchmarks.ceiling --dense-images 3
	$(BIN)/python -m tests.benchmarks.scale
	$(BIN)/python -m tests.benchmarks.saliency
	$(BIN)/python -m tests.benchmarks.eigencam

faults: install
	$(BIN)/python -m tests.faults.kill_prepare --kills 50

clean:
	rm -rf .venv build dist *.egg-info clickmap_demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

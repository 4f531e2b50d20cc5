# Two commands for a newcomer: `make demo` and `make test`. Both install first; nothing else is needed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test check format tables bench bench-scale faults fuzz wheel clean help

help:
	@echo "make demo     install, then simulate data and run the main job"
	@echo "make test     install, then run the tests"
	@echo "make check    format, lint, types and import rules"
	@echo "make tables   update the README's tables of keys from the schemas"
	@echo "make bench    speed against a plain dense implementation (pysaliency, the bare network), same run"
	@echo "make bench-scale  ten thousand, one and six million trials: time a trial, memory, disk"
	@echo "make wheel    dist/clickmap-*.whl, to be installed elsewhere"
	@echo "make faults   the long fault runs: kills, full disks, damaged files, ... (hours)"
	@echo "make fuzz     20,000 hostile inputs for every reader, guided by coverage (hours)"
	@echo "make clean    remove what these commands made"

install: .venv/installed

.venv/installed: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: install
	$(BIN)/clickmap demo --overwrite

test: install
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

tables: install
	$(BIN)/python -m clickmap_cli.reports.config README.md

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install
	$(BIN)/python -m tests.benchmarks.prepare
	$(BIN)/python -m tests.benchmarks.ceiling --dense-images 3
	$(BIN)/python -m tests.benchmarks.saliency
	$(BIN)/python -m tests.benchmarks.eigencam

bench-scale: install
	$(BIN)/python -m tests.benchmarks.scale

faults: install
	$(BIN)/python -m tests.faults.kills --kills 100
	$(BIN)/python -m tests.faults.table --tries 20
	$(BIN)/python -m pytest -q tests/faults/test_bombs.py

fuzz: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	$(BIN)/python -m tests.faults.fuzz --runs 20000

wheel: install
	$(BIN)/python -m build

clean:
	rm -rf .venv build dist *.egg-info clickmap_demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# make demo   a teacher, a student, an exported and verified file, from nothing
# make test   every test
# Both make their own virtual environment in .venv, once.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test clean

demo: .venv/.demo
	$(BIN)/keras-distill demo

test: .venv/.test
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

# A stamp per extra: a second run installs nothing.
.venv/.demo .venv/.test: .venv/.%: setup.cfg pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[$*]"
	touch $@

clean:
	rm -rf .venv .pytest_cache .coverage runs

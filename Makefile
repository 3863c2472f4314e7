# make demo        a teacher, a student, an exported and verified file, from nothing
# make test        every test
# make test-fast   the first case of each test that is neither slow nor about files and commands: three minutes
# make lint        formatter, linter, type checker
# Each makes its own virtual environment in .venv, once.

PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder

# What holds on every backend of Keras; the backend is chosen when Keras is imported, so that it takes a run of its own.
JAX_TESTS := tests/jax/test_dark_knowledge.py tests/jax/test_training.py tests/callbacks/test_temperature_scheduler.py \
	tests/losses/test_every_loss.py tests/losses/test_slopes_at_zero.py tests/schedules

.PHONY: demo test test-fast lint format clean clone-url

demo: .venv/.demo
	$(BIN)/keras-distill demo

test: .venv/.test
	$(PYTEST)
	KERAS_BACKEND=jax $(PYTEST) $(JAX_TESTS)

test-fast: .venv/.test
	$(PYTEST) --first tests --ignore=tests/export --ignore=tests/benchmarks --ignore=tests/cli

lint: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

# A stamp per extra: a second run installs nothing.
.venv/.demo .venv/.test .venv/.dev: .venv/.%: setup.cfg pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[$*]"
	touch $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .coverage runs

# Fill in where the repository lives, in every file that says so: make clone-url URL=https://...
clone-url:
	grep -rl CLONE_URL README.md CONTRIBUTING.md docs --include=*.md | xargs sed -i 's#CLONE_URL#$(URL)#g'

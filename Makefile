# `make help` lists what there is. Every target sets up .venv first, once.

PYTHON ?= python3
# On Linux PyPI's torch brings several GB of CUDA; the PyTorch project has an index without it:
# make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
BIN := .venv/bin

.PHONY: help setup check test fix demo bench clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: .venv/ready  ## make .venv with everything that users and developers need

.venv/ready: pyproject.toml constraints.txt
	@echo "Making .venv, in a minute or two"
	$(PYTHON) -m venv .venv
	$(if $(TORCH_INDEX),$(BIN)/pip install --quiet --constraint constraints.txt --index-url $(TORCH_INDEX) torch)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup  ## caption photos with the model that ships: make demo PHOTOS="a.jpg folder/"
	@$(BIN)/mrnn demo $(PHOTOS)

test: setup check  ## set up, then run every gate and test

check: setup  ## the only gate: format, lint, types, floors, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports
	$(BIN)/pytest -q

fix: setup  ## format, and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# With DATA the ranking is that of its dev split, R@K included, and the exact one is run in full.
bench: setup  ## speed of measures, of training, of fast and exact ranking: make bench DATA=flickr8k
	$(BIN)/python benchmarks/metrics_speed.py
	$(BIN)/python benchmarks/training_speed.py
	$(BIN)/python benchmarks/retrieval_speed.py $(if $(DATA),--data $(DATA) --exact)

clean:  ## remove .venv and caches
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist

# `make help` lists what there is. A target sets up .venv as far as it needs it.

PYTHON ?= python3
# On Linux PyPI's torch brings several GB of CUDA; the PyTorch project has an index without it:
# make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
PHOTOS ?=
AGAINST ?=
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo setup test check fix faults build bench docs clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: .venv/light  ## caption the example photos, or yours: make demo PHOTOS="a.jpg folder/"
	@$(BIN)/mrnn $(if $(PHOTOS),caption $(PHOTOS),demo)

setup: .venv/ready  ## make .venv with everything that users and developers need

.venv/light: pyproject.toml constraints.txt
	@echo "Making .venv with what captions photos: half a minute"
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable .
	@touch $@

.venv/ready: .venv/light
	@echo "Adding PyTorch and the tools of developers: a minute or two"
	$(if $(TORCH_INDEX),$(INSTALL) --index-url $(TORCH_INDEX) torch torchvision)
	$(INSTALL) --editable '.[dev]'
	@touch $@

test: check build  ## set up, then run every gate: check and build

check: setup  ## format, lint, types, floors, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest -q -rs

fix: setup  ## format, and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

faults: setup  ## kill every command that writes at 200 moments, run pairs of them; half an hour or more
	MRNN_FAULTS=200 MRNN_FAULTS_TABLE=faults.md $(BIN)/pytest -q tests/faults

build: setup  ## the wheel and the sdist in dist/, tried in a fresh environment without torch
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*
	$(BIN)/python .ci/try_wheel.py

bench: build  ## seconds and memory of the command: make bench AGAINST=old/.venv/bin/python PHOTOS=folder
	$(BIN)/python benchmarks/product.py --wheel dist/*.whl $(if $(PHOTOS),--photos $(PHOTOS)) $(if $(AGAINST),--against $(AGAINST))

# No --quiet: with it mkdocs counts no warning, so that --strict lets broken links pass.
docs: setup  ## write the pages that are made from the code, and the site of all pages into site/
	$(BIN)/python docs/make_cli.py
	$(BIN)/python docs/make_http.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:  ## remove .venv, dist, site and caches
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist site

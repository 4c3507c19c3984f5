# Everything a developer or a new user runs. `make` alone lists the targets.
# Needs only Python 3.11+ and make: uv is used when it is on PATH, else brought into .venv from PyPI.
SHELL := /bin/sh
PYTHON ?= python3
BIN := .venv/bin
UV := $(shell command -v uv || echo .venv/bin/uv)

.DEFAULT_GOAL := help
.PHONY: help demo demo-down test e2e check lint-fix bench fuzz lock docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.base ## deploy a real model on this machine and ask it a question
	@$(BIN)/python examples/demo.py

demo-down: ## delete the demo's function and stop the local platform
	@$(BIN)/mlfn delete iris --yes || true
	@$(BIN)/mlfn local down

test: .venv/.dev ## every test that needs no cluster
	$(BIN)/python -m pytest -q

e2e: .venv/.dev ## the tests on a real cluster: KUBECONFIG's, or one built and started here (root, Go)
	@sh tests/e2e/run $(E2E)

check: .venv/.dev ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lint-fix: .venv/.dev ## let ruff repair what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.dev ## measure the targets of benchmarks/README.md (five to ten minutes, two quiet cores)
	$(BIN)/python benchmarks/run.py

fuzz: .venv/.dev ## 100,000 hostile requests against the function server
	$(BIN)/python tests/fuzz/fuzz_server.py --count 100000

docs: .venv/.dev ## write the generated reference pages again
	$(BIN)/python docs/generate.py

lock: .venv/.dev ## resolve the locks of development, demo and images again
	$(UV) pip compile -q --universal --generate-hashes --no-header --no-annotate --upgrade pyproject.toml -o .ci/base.lock
	$(UV) pip compile -q --universal --generate-hashes --no-header --no-annotate --upgrade --group dev --extra all -c .ci/base.lock pyproject.toml -o .ci/dev.lock
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade \
		--no-emit-package flatbuffers --no-emit-package packaging --no-emit-package protobuf \
		-c .ci/base.lock .ci/runtime.in -o runtimes/mlfn_runtime/requirements.lock

clean: ## remove what the other targets made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

# .base: what mlfn itself needs.  .dev: the tools and test clients too.  Both at the versions of the committed locks.
.venv/.base: .ci/base.lock pyproject.toml
	@PYTHON="$(PYTHON)" sh .ci/install base
.venv/.dev: .ci/dev.lock pyproject.toml
	@PYTHON="$(PYTHON)" sh .ci/install dev

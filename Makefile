# To work on Opportune you need Python 3.11 or newer, make and git; `make` installs everything else.

PYTHON ?= python3
VENV_PYTHON := .venv/bin/python
SAM := .venv-sam/bin/sam
# Much of the time tests wait, so three workers keep two cores busy. With four, functions that start get too little time.
WORKERS ?= 3
BUILD_DIR ?= .aws-sam/build
# Two artefacts: the functions that handle events, and what the console needs to read and publish definitions.
RUNTIME_FOLDERS := decider engager gateway preferences refresher shared
CONSOLE_FOLDERS := definitions shared
# Lambda's Python has these packages. pymongo requires them for IAM, and they would be most of the artefact.
IN_LAMBDA := boto3 botocore s3transfer urllib3
# The console runs no campaign.
NOT_IN_CONSOLE := nh3 pyjwt redis
export SAM_CLI_TELEMETRY := 0
# The tests start hundreds of processes. Compiled modules save each of them up to a second.
unexport PYTHONDONTWRITEBYTECODE

# Writing the stamp is the last step of an installation, and the stamp holds the folder's path. So an interrupted
# installation, a moved folder and a missing interpreter all lead to a new environment.
usable = $(shell test "$$(cat $(1)/.installed 2>/dev/null)" = "$(CURDIR)" && $(1)/bin/python -c '' 2>/dev/null && echo yes)

.DEFAULT_GOAL := help
.PHONY: help run test check lint format types bench test-artefact test-deep test-chaos verify-live build deploy checkov audit cost lock clean
# Parts of the commands above; `make help` leaves them out.
.PHONY: collect quick build-runtime build-console sbom .venv .venv-sam .runtime python3.13

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: .venv ## Start the whole system and play the demo (ONCE=1: then stop; PORT=n; SPEED=n: a clock n times as fast)
	@$(VENV_PYTHON) -m opportune run $(if $(ONCE),--once) $(if $(PORT),--port $(PORT)) $(if $(SPEED),--speed $(SPEED))

test: .venv .venv-sam .runtime ## Run lint, types and all tests (ARGS="-k word": for pytest; WORKERS=n)
	+@$(MAKE) --no-print-directory -j 3 lint types collect
	$(VENV_PYTHON) -m pytest -n $(WORKERS) $(ARGS)

check: .venv ## Run lint, types, unit and property tests, for the inner loop
	+@$(MAKE) --no-print-directory -j 3 lint types quick

# Importing the tests once compiles them; otherwise each worker would do that for itself.
collect: .venv
	@found="$$($(VENV_PYTHON) -m pytest --collect-only -qq)" || { echo "$$found"; exit 1; }

# These tests compute and do not wait, so each core gets one worker.
quick: .venv
	$(VENV_PYTHON) -m pytest -n auto tests/unit tests/property $(ARGS)

lint: .venv ## Check style and formatting
	$(VENV_PYTHON) -m ruff check
	$(VENV_PYTHON) -m ruff format --check

format: .venv ## Format, and fix what ruff can fix
	$(VENV_PYTHON) -m ruff check --fix
	$(VENV_PYTHON) -m ruff format

types: .venv ## Check types
	$(VENV_PYTHON) -m mypy

bench: .venv ## Measure, each figure beside its floor; writes benchmarks/results.json
	$(VENV_PYTHON) -m opportune bench

test-artefact: .venv .venv-sam .runtime ## Test what `make build` makes in Lambda's emulator; prints sizes, starts, memory
	$(VENV_PYTHON) -m pytest tests/artefact $(ARGS)

test-deep: .venv ## Compare a million random patterns with the oracle (PAIRS=n); search the larger models of delivery
	$(VENV_PYTHON) -m tests.model
	$(VENV_PYTHON) -m pytest -n $(WORKERS) tests/property --timeout 0 --pairs $(or $(PAIRS),1000000)

test-chaos: .venv ## Inject random faults under traffic, then check the invariants (MINUTES=10, SEED=n)
	$(VENV_PYTHON) -m tests.faults.chaos --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

verify-live: .venv ## Compare live matches, replay and oracle on recorded events (DATA=path)
	$(VENV_PYTHON) -m tests.verify_live $(DATA)

build: build-runtime build-console sbom ## Build what is deployed, and its SBOM (ARCHITECTURE=x86_64; BUILD_DIR=path)

# What each artefact contains, in CycloneDX.
sbom: .venv
	@for artefact in runtime console; do \
		$(VENV_PYTHON) -m opportune.dev.sbom $$artefact requirements/$$artefact.txt $(BUILD_DIR)-sbom/$$artefact.cdx.json; \
	done

# SAM builds a copy of the sources, so that an artefact holds its own folders and packages and nothing else. The lock
# leaves out what Lambda has; PIP_NO_DEPS keeps pip from adding it again. Lambda cannot write, so without compiled
# modules each cold start would compile them, which is most of its time. All functions are built from one folder, so
# the compiled modules of the first fit the others.
build-runtime: .venv .venv-sam
	@$(VENV_PYTHON) -m opportune.site_tag.build
	@$(call stage,$(RUNTIME_FOLDERS),$(BUILD_DIR)-source/functions)
	@cp requirements/runtime.txt $(BUILD_DIR)-source/functions/requirements.txt
	@folder="$$($(MAKE) -s python3.13)" && PATH="$$folder:$$PATH" && export PATH PIP_NO_DEPS=1 && \
	$(SAM) build --base-dir $(BUILD_DIR)-source --build-dir $(BUILD_DIR) --cache-dir $(BUILD_DIR)-cache \
		$(if $(ARCHITECTURE),--parameter-overrides Architecture=$(ARCHITECTURE)) && \
	cd $(BUILD_DIR) && set -- */ && first="$${1%/}" && shift && $(call compile_modules,$$first) && \
	for other; do (cd "$$first" && find . -name '*.pyc' | tar cf - -T -) | tar xf - -C "$$other"; done && \
	$(call print_size,runtime functions,$$first)

# The console has no function yet: its artefact is built for this machine, for the test that publishes with it.
build-console:
	@$(call stage,$(CONSOLE_FOLDERS),$(BUILD_DIR)-console)
	@folder="$$($(MAKE) -s python3.13)" && PATH="$$folder:$$PATH" && \
	python3.13 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --require-hashes \
		--target $(BUILD_DIR)-console --requirement requirements/console.txt && \
	$(call compile_modules,$(BUILD_DIR)-console) && $(call print_size,console,$(BUILD_DIR)-console)

# $(1): folders of functions/; $(2): a folder that is made anew with copies of them
stage = rm -rf $(2) && mkdir -p $(2) && (cd functions && tar cf - --exclude __pycache__ $(1)) | tar xf - -C $(2)
compile_modules = python3.13 -m compileall -q --invalidation-mode unchecked-hash -s "$(1)" -p /var/task "$(1)"
SIZE := import pathlib, sys; print(sum(path.stat().st_size for path in pathlib.Path(sys.argv[1]).rglob("*") if path.is_file()) // 10**6)
print_size = echo "$(1): $$(python3.13 -c '$(SIZE)' "$(2)") MB unpacked"

deploy: build-runtime ## Deploy to your AWS account; asks for what it needs
	$(SAM) deploy --guided

checkov: .venv-checkov/.installed ## Scan the template for insecure settings; .checkov.yaml lists exceptions and reasons
	@.venv-checkov/bin/checkov --config-file .checkov.yaml --skip-download

audit: .venv .venv-audit/.installed ## Look for known vulnerabilities in all packages (Error 3: no database reachable)
	@$(VENV_PYTHON) -m opportune.dev.audit .venv-audit/bin/pip-audit $(sort $(wildcard requirements/*.txt))

cost: .venv ## Print what a stack costs (EVENTS="10 0.1 0.005": millions of events, relevant ones, matches)
	@$(VENV_PYTHON) -m opportune.dev.cost $(EVENTS)

lock: ## Write the lock files again (UPGRADE=1: with newer versions)
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && set -e; \
	echo "Installing uv into $$folder"; \
	$(PYTHON) -m venv "$$folder" && "$$folder/bin/pip" install --quiet uv; \
	compile() { "$$folder/bin/uv" pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		$(if $(UPGRADE),--upgrade) "$$@"; }; \
	deployed() { compile --python-version 3.13 -c requirements/local.txt $(addprefix --no-emit-package ,$(IN_LAMBDA)) \
		pyproject.toml "$$@"; }; \
	compile --python-version 3.11 --extra console --group local --group dev pyproject.toml -o requirements/local.txt; \
	deployed -o requirements/runtime.txt; \
	deployed --extra console $(addprefix --no-emit-package ,$(NOT_IN_CONSOLE)) -o requirements/console.txt; \
	printf 'awslambdaric>=4.2,<5\nboto3>=1.44,<2\n' | compile --python-version 3.13 - -o requirements/lambda.txt; \
	echo 'checkov>=3.3,<4' | compile --python-version 3.11 - -o requirements/checkov.txt; \
	echo 'pip-audit>=2.9,<3' | compile --python-version 3.11 - -o requirements/audit.txt; \
	echo 'aws-sam-cli>=1.170,<2' | compile --python-version 3.11 - -o requirements/sam.txt

clean: ## Remove everything that make has created
	rm -rf .venv .venv-sam .venv-checkov .venv-audit .runtime .aws-sam .opportune .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info functions/gateway/assets
	find functions opportune tests -name __pycache__ -prune -exec rm -rf {} +

# ── Environments ─────────────────────────────────────────────────────────────────────────────────

.venv: .venv/.installed
	@:
.venv-sam: .venv-sam/.installed
	@:
.runtime: .runtime/.installed
	@:

ifneq ($(call usable,.venv),yes)
.PHONY: .venv/.installed
endif
ifneq ($(call usable,.venv-checkov),yes)
.PHONY: .venv-checkov/.installed
endif
ifneq ($(call usable,.venv-audit),yes)
.PHONY: .venv-audit/.installed
endif
ifneq ($(call usable,.venv-sam),yes)
.PHONY: .venv-sam/.installed
endif

.venv/.installed: requirements/local.txt
	$(call install,.venv,$<,)
	@.venv/bin/pip install --quiet --no-deps --no-build-isolation --editable .
	@echo "$(CURDIR)" > $@

.venv-sam/.installed: requirements/sam.txt
	$(call install,.venv-sam,$<, for the AWS SAM CLI: its requirements clash with ours)
	@echo "$(CURDIR)" > $@

.venv-checkov/.installed: requirements/checkov.txt
	$(call install,.venv-checkov,$<, for checkov: it needs a hundred packages)
	@echo "$(CURDIR)" > $@

.venv-audit/.installed: requirements/audit.txt
	$(call install,.venv-audit,$<, for pip-audit: nothing else needs its packages)
	@echo "$(CURDIR)" > $@

# The packages that Lambda's Python has. Without a Python 3.13 nothing could run them, so nothing is installed.
.runtime/.installed: requirements/lambda.txt
	@if folder="$$($(MAKE) -s python3.13)"; then \
		echo "Creating .runtime with the packages that Lambda's Python has"; \
		rm -rf .runtime; \
		"$$folder/python3.13" -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps \
			--require-hashes --target .runtime --requirement $<; \
		touch $@; \
	fi

# A lock file is complete, so pip need not resolve anything: --no-deps.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "$(PYTHON) is missing or older than Python 3.11; try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "Creating $(1)$(3) (about 1 minute, once)"
	@rm -rf $(1)
	@$(PYTHON) -m venv $(1)
	@$(1)/bin/pip install --disable-pip-version-check --no-deps --require-hashes --requirement $(2)
endef

# Print the folder of a Python 3.13 with pip: `sam build` needs it on PATH. Each candidate is run, because a name on
# PATH may be a pyenv shim without a version, or a Python without pip.
python3.13:
	@for candidate in python3.13 "$$HOME"/.pyenv/versions/3.13.*/bin/python3.13 "$$(uv python find 3.13 2>/dev/null)"; do \
		"$$candidate" -c 'import sys, pip; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null && \
		exec "$$candidate" -c 'import os, sys; print(os.path.dirname(sys.executable))'; \
	done; \
	echo "No Python 3.13 found on PATH, in pyenv or in uv; get one with: uv python install 3.13, or: pyenv install 3.13" >&2; \
	exit 1

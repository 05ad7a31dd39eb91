# What a newcomer needs: Python 3.11 or newer, make and git.

PYTHON ?= python3
VENV_PYTHON := .venv/bin/python
SAM := .venv-sam/bin/sam
# What Lambda's Python brings along: pymongo wants it for IAM, and it would be most of what is deployed.
RUNTIME := boto3 botocore s3transfer urllib3
export SAM_CLI_TELEMETRY := 0

# A stamp holds the folder's path and is written last: a folder that was moved, an interrupted
# installation and an interpreter that is gone all lead to a new environment.
usable = $(shell test "$$(cat $(1)/.installed 2>/dev/null)" = "$(CURDIR)" && $(1)/bin/python -c '' 2>/dev/null && echo yes)

.DEFAULT_GOAL := help
.PHONY: help run test lint format types bench test-artefact test-deep test-chaos verify-live build deploy checkov cost lock clean .venv .venv-sam .runtime python3.13

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: .venv ## Start the whole system here and play the demo (ONCE=1: stop after it; PORT=n; SPEED=n: clock n times as fast)
	@$(VENV_PYTHON) -m opportune run $(if $(ONCE),--once) $(if $(PORT),--port $(PORT)) $(if $(SPEED),--speed $(SPEED))

test: .venv .venv-sam .runtime lint types ## Lint, types and all tests (ARGS="-k word": for pytest)
	$(VENV_PYTHON) -m pytest $(ARGS)

lint: .venv ## Check style and formatting
	$(VENV_PYTHON) -m ruff check
	$(VENV_PYTHON) -m ruff format --check

format: .venv ## Format, and repair what can be repaired
	$(VENV_PYTHON) -m ruff check --fix
	$(VENV_PYTHON) -m ruff format

types: .venv ## Check types
	$(VENV_PYTHON) -m mypy

bench: .venv ## Measure, each figure beside its floor; writes benchmarks/results.json
	$(VENV_PYTHON) -m opportune bench

test-artefact: .venv .venv-sam .runtime ## What `make build` makes, in Lambda's emulator, with figures on starts and memory
	$(VENV_PYTHON) -m pytest tests/artefact -s $(ARGS)

test-deep: .venv ## A million random patterns against the oracle (PAIRS=n)
	$(VENV_PYTHON) -m pytest tests/property --timeout 0 --pairs $(or $(PAIRS),1000000)

test-chaos: .venv ## Random faults under traffic, then the check (MINUTES=10, SEED=n)
	$(VENV_PYTHON) -m tests.faults.chaos --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

verify-live: .venv ## Compare live matches, replay and oracle on recorded events (DATA=path)
	$(VENV_PYTHON) -m tests.verify_live $(DATA)

# Lambda cannot write, so it would compile every module anew at every cold start: that is most of its time. All
# functions are built from one folder, so what is compiled for the first is right for the others. PIP_NO_DEPS: the lock
# leaves out what Lambda brings along, and pip would look for it.
build: .venv .venv-sam ## Build what is deployed (ARCHITECTURE=x86_64, BUILD_DIR=path)
	@$(VENV_PYTHON) -m opportune.site_tag.build
	@folder="$$($(MAKE) -s python3.13)" && PATH="$$folder:$$PATH" && export PATH PIP_NO_DEPS=1 && $(SAM) build \
		$(if $(ARCHITECTURE),--parameter-overrides Architecture=$(ARCHITECTURE)) \
		$(if $(BUILD_DIR),--build-dir $(BUILD_DIR) --cache-dir $(BUILD_DIR).cache) && \
	cd $(or $(BUILD_DIR),.aws-sam/build) && set -- */ && \
	python3.13 -m compileall -q --invalidation-mode unchecked-hash -s "$$1" -p /var/task "$$1" && first="$$1" && shift && \
	for other; do (cd "$$first" && find . -name '*.pyc' | tar cf - -T -) | tar xf - -C "$$other"; done

deploy: build ## Deploy to your AWS account, asking for what it needs
	$(SAM) deploy --guided

checkov: .venv-checkov/.installed ## Scan the template for insecure settings; exceptions and their reasons are in .checkov.yaml
	@.venv-checkov/bin/checkov --config-file .checkov.yaml --skip-download

cost: .venv ## What a stack costs, from measured calls and list prices (EVENTS="10 0.1 0.005": millions, relevant, matched)
	@$(VENV_PYTHON) -m opportune.dev.cost $(EVENTS)

lock: ## Write the lock files anew (UPGRADE=1: with newer versions)
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && set -e; \
	echo "Installing uv into $$folder"; \
	$(PYTHON) -m venv "$$folder" && "$$folder/bin/pip" install --quiet uv; \
	compile() { "$$folder/bin/uv" pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		$(if $(UPGRADE),--upgrade) "$$@"; }; \
	compile --python-version 3.11 --group local --group dev pyproject.toml -o requirements.txt; \
	compile --python-version 3.13 -c requirements.txt $(addprefix --no-emit-package ,$(RUNTIME)) pyproject.toml \
		-o functions/requirements.txt; \
	printf 'awslambdaric>=4.2,<5\nboto3>=1.44,<2\n' | compile --python-version 3.13 - -o requirements-lambda.txt; \
	echo 'checkov>=3.3,<4' | compile --python-version 3.11 - -o requirements-checkov.txt; \
	echo 'aws-sam-cli>=1.170,<2' | compile --python-version 3.11 - -o requirements-sam.txt

clean: ## Remove everything that was made here
	rm -rf .venv .venv-sam .venv-checkov .runtime .aws-sam .opportune .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info functions/gateway/assets
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
ifneq ($(call usable,.venv-sam),yes)
.PHONY: .venv-sam/.installed
endif

.venv/.installed: requirements.txt
	$(call install,.venv,requirements.txt,)
	@.venv/bin/pip install --quiet --no-deps --no-build-isolation --editable .
	@echo "$(CURDIR)" > $@

.venv-sam/.installed: requirements-sam.txt
	$(call install,.venv-sam,requirements-sam.txt, for the AWS SAM CLI: its requirements clash with ours)
	@echo "$(CURDIR)" > $@

.venv-checkov/.installed: requirements-checkov.txt
	$(call install,.venv-checkov,requirements-checkov.txt, for checkov: it brings a hundred packages)
	@echo "$(CURDIR)" > $@

# What Lambda's Python has besides the standard library; without a Python 3.13 there is nothing to run it with.
.runtime/.installed: requirements-lambda.txt
	@if folder="$$($(MAKE) -s python3.13)"; then \
		echo "Creating .runtime with what Lambda's Python has"; \
		rm -rf .runtime; \
		"$$folder/python3.13" -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps \
			--require-hashes --target .runtime --requirement $<; \
		touch $@; \
	fi

# The lock is complete, so nothing is resolved: --no-deps.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "Python 3.11 or newer is needed and $(PYTHON) is not; try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "Creating $(1)$(3) (about 1 minute, once)"
	@rm -rf $(1)
	@$(PYTHON) -m venv $(1)
	@$(1)/bin/pip install --disable-pip-version-check --no-deps --require-hashes --requirement $(2)
endef

# Prints the folder of a Python 3.13 with pip, which `sam build` wants on PATH. A name on PATH proves
# nothing: it may be a pyenv shim without a version behind it, or a Python without pip.
python3.13:
	@for candidate in python3.13 "$$HOME"/.pyenv/versions/3.13.*/bin/python3.13 "$$(uv python find 3.13 2>/dev/null)"; do \
		"$$candidate" -c 'import sys, pip; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null && \
		exec "$$candidate" -c 'import os, sys; print(os.path.dirname(sys.executable))'; \
	done; \
	echo "No Python 3.13 found on PATH, in pyenv or in uv; get one with: uv python install 3.13, or: pyenv install 3.13" >&2; \
	exit 1

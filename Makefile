# `make help` lists the targets. Required: Python 3.11 or newer and make. Nothing is installed outside this folder.

PYTHON ?= python3
PYTEST_ARGS ?=
LOCK_ARGS ?=

# Tests that kill servers under load, use the local model or drive a browser run separately: with others in parallel, they
# would fail on a busy machine.
ALONE := tests/drills tests/e2e tests/web

# Paths are relative, so that the folder can have any path.
VENV_PYTHON := .venv/bin/python
INSTALLER := .venv/installed-uv
RUNTIME := .venv/installed-local
DEVELOPMENT := .venv/installed-dev
NODE_MODULES := frontend/node_modules/.installed
CLIENT_PACKAGES := tests/clients/javascript/node_modules/.installed
PYTEST := $(VENV_PYTHON) -m pytest
COVERAGE := $(VENV_PYTHON) -m coverage
UV := $(VENV_PYTHON) -m local.uv
NPM := $(VENV_PYTHON) -m local.npm
# Bytecode is compiled here because the processes of the first start would each compile the same modules.
INSTALL := $(UV) pip install --quiet --compile-bytecode --python $(VENV_PYTHON) --no-deps --require-hashes
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header $(LOCK_ARGS)

.PHONY: help setup run demo down backup restore doctor test coverage drills soak mutants lint types docs docs-check site check faults sbom audit clients fuzz screenshots bench lock clean

help: ## list the targets
	@awk -F ': *[^#]*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: $(DEVELOPMENT) $(NODE_MODULES) ## install all packages for development into .venv and frontend/node_modules

run: $(RUNTIME) ## run the whole system until Ctrl-C; PORT=9080 for another port
	@$(VENV_PYTHON) -m local run

demo: $(RUNTIME) ## ask the running system two questions; BASE_URL=http://host:port for another system
	@$(VENV_PYTHON) -m local.demo

down: ## stop the system from another terminal
	@if [ -e $(RUNTIME) ]; then $(VENV_PYTHON) -m local down; fi

backup: $(RUNTIME) ## write a backup to .local/backups; BACKUP=directory for another place
	@$(VENV_PYTHON) -m local backup $(BACKUP)

restore: $(RUNTIME) ## restore BACKUP=directory into the empty database of a stopped system
	@$(VENV_PYTHON) -m local restore $(BACKUP)

doctor: $(RUNTIME) ## ask each configured model one question, plain and streamed
	@$(VENV_PYTHON) -m app.cli doctor

test: $(DEVELOPMENT) $(NODE_MODULES) ## run the tests; PYTEST_ARGS="-k login" for a selection of those in Python
ifeq ($(PYTEST_ARGS)$(TEST_DATABASE_URL)$(TEST_REDIS_URL),)
	@$(NPM) test; web=$$?; \
		$(PYTEST) --numprocesses 2 --dist loadfile $(ALONE:%=--ignore=%); first=$$?; \
		$(PYTEST) $(ALONE) && [ $$web = 0 ] && exit $$first
else
	@$(PYTEST) $(PYTEST_ARGS)
endif

coverage: $(DEVELOPMENT) ## run the tests with line coverage; report in .coverage/html
	@rm -rf .coverage && mkdir .coverage
	@$(MAKE) --no-print-directory test PYTEST="$(COVERAGE) run -m pytest"; result=$$?; \
		$(COVERAGE) combine --quiet && $(COVERAGE) html --quiet && $(COVERAGE) report && exit $$result

drills: $(DEVELOPMENT) ## run the fault tests under load at full size: longer and with more faults than in `make test` (minutes)
	@DRILLS=full $(PYTEST) tests/drills $(PYTEST_ARGS)

soak: $(DEVELOPMENT) ## mixed load for MINUTES=10: memory, descriptors, tasks and connections must stay flat
	@SOAK_MINUTES=$(or $(MINUTES),10) $(PYTEST) -o faulthandler_timeout=$$(($(or $(MINUTES),10) * 60 + 600)) tests/drills/test_soak.py $(PYTEST_ARGS)

mutants: $(DEVELOPMENT) ## put small mistakes into a copy of the code, one at a time, and check that tests fail (an hour)
	@$(VENV_PYTHON) -m tests.mutants $(MUTANT)

lint: $(DEVELOPMENT) $(NODE_MODULES) ## check style, format and import contracts
	@$(VENV_PYTHON) -m ruff check .
	@$(VENV_PYTHON) -m ruff format --check .
	@.venv/bin/lint-imports
	@$(NPM) run --silent lint

types: $(DEVELOPMENT) $(NODE_MODULES) ## check types with mypy and vue-tsc
	@$(VENV_PYTHON) -m mypy
	@$(NPM) run --silent types

docs: $(DEVELOPMENT) $(NODE_MODULES) ## write the generated documents, and the API client of the web application
	@$(VENV_PYTHON) docs/generate.py
	@$(NPM) run --silent generate

docs-check: $(DEVELOPMENT) $(NODE_MODULES) ## check that documents are up to date and complete, and their names, links and diagrams
	@$(VENV_PYTHON) docs/generate.py --check
	@$(NPM) run --silent diagrams
	@$(NPM) run --silent generate:check

site: .venv/installed-site $(NODE_MODULES) ## build the documents as a searchable site in .site; warnings are errors
	@$(VENV_PYTHON) docs/site.py

faults: $(DEVELOPMENT) ## test every provider fault and write docs/reference/provider-faults.md
	@PROVIDER_FAULTS=write $(PYTEST) tests/chat/turns/test_provider_faults.py tests/chat/turns/test_engines.py

screenshots: $(DEVELOPMENT) $(NODE_MODULES) ## write the pictures of the web application in docs/images
	@SCREENSHOTS=write $(PYTEST) tests/web/test_screenshots.py

sbom: .venv/installed-audit ## write lists of all packages of a release (CycloneDX) to sbom/
	@$(VENV_PYTHON) -m local.audit sbom

audit: .venv/installed-audit ## look up known vulnerabilities of all packages; says so if their databases are not reached
	@$(VENV_PYTHON) -m local.audit check

clients: .venv/installed-clients $(CLIENT_PACKAGES) $(NODE_MODULES) ## try clients of the API, and check its OpenAPI document; CLIENTS=write writes docs/reference/clients.md
	@$(PYTEST) tests/clients $(PYTEST_ARGS)

fuzz: .venv/installed-clients ## send generated requests to all services with Schemathesis and check the responses (20 minutes)
	@SCHEMATHESIS=full $(PYTEST) tests/clients/test_schemathesis.py $(PYTEST_ARGS)

bench: $(DEVELOPMENT) ## run the benchmarks and write docs/reference/benchmarks.md (minutes); BENCH=accounts for one
	@$(VENV_PYTHON) -m benchmarks $(BENCH)

check: lint types docs-check test ## run lint, types, docs-check and test

lock: $(INSTALLER) ## update the lock files; LOCK_ARGS=--upgrade for newer versions
	@$(LOCK) --group services -o requirements.txt
	@$(LOCK) --group local -c requirements.txt -o requirements/local.txt
	@$(LOCK) --group dev -c requirements/local.txt -o requirements/dev.txt
	@$(LOCK) --group clients -c requirements/dev.txt -o requirements/clients.txt
	@$(LOCK) --group audit -c requirements/dev.txt -o requirements/audit.txt
	@$(LOCK) --group site -c requirements/dev.txt -o requirements/site.txt
	@$(LOCK) --group model-server -c requirements/local.txt -o requirements/model-server.txt
	@$(LOCK) --group node -c requirements/local.txt -o requirements/node.txt
	@$(LOCK) --group uv -o requirements/uv.txt
	@for name in model redis openmp; do $(LOCK) --no-deps --group $$name -o requirements/$$name.txt || exit; done

clean: down ## remove .venv, node_modules, caches, built files, and .local with all its data
	@rm -rf .venv .local .site .pytest_cache .coverage .mypy_cache .ruff_cache .hypothesis .import_linter_cache .langgraph_api
	@rm -rf sbom frontend/node_modules frontend/dist frontend/coverage tests/clients/javascript/node_modules
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Readable for all users, whatever the umask and the modes in uv's cache: if root starts the stack, PostgreSQL runs as
# another user.
$(VENV_PYTHON):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/it ...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo '$(PYTHON) comes without venv or ensurepip: install them (on Debian: apt install python3-venv)' >&2; exit 1; }
	@umask 022 && $(PYTHON) -m venv --clear .venv

$(INSTALLER): requirements/uv.txt | $(VENV_PYTHON)
	@umask 022 && $(VENV_PYTHON) -m pip install -qq --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(RUNTIME): requirements/local.txt | $(INSTALLER)
	@echo 'Installing the packages of the local stack (about 15 s)'
	@umask 022 && $(INSTALL) -r $< && chmod -R a+rX .venv
	@touch $@

$(DEVELOPMENT): requirements/dev.txt | $(INSTALLER)
	@echo 'Installing the packages for development (about 20 s)'
	@umask 022 && $(INSTALL) -r $< && chmod -R a+rX .venv
	@touch $@ $(RUNTIME)

.venv/installed-clients: requirements/clients.txt | $(DEVELOPMENT)
	@echo 'Installing the clients that are tried (about 20 s)'
	@umask 022 && $(INSTALL) -r $< && chmod -R a+rX .venv
	@touch $@

.venv/installed-audit: requirements/audit.txt | $(DEVELOPMENT)
	@umask 022 && $(INSTALL) -r $< && chmod -R a+rX .venv
	@touch $@

$(CLIENT_PACKAGES): tests/clients/javascript/package-lock.json | $(DEVELOPMENT)
	@$(VENV_PYTHON) -m local.npm --prefix ../tests/clients/javascript ci --ignore-scripts --prefer-offline --no-audit --no-fund --loglevel=error
	@touch $@

$(NODE_MODULES): frontend/package.json frontend/package-lock.json frontend/.npmrc | $(DEVELOPMENT)
	@echo 'Installing the packages of the web application (about a minute)'
	@$(NPM) ci --ignore-scripts --prefer-offline --no-audit --no-fund --loglevel=error
	@touch $@

.venv/installed-site: requirements/site.txt | $(DEVELOPMENT)
	@umask 022 && $(INSTALL) -r $< && chmod -R a+rX .venv
	@touch $@

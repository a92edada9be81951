# Every target sets up what it needs, on a fresh machine too. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory

# Whatever stands first on PATH installs the product, as in a container image.
PYTHON ?= python3
# What develops and measures it, unless PYTHON is given: the operating system's interpreter, if it is recent enough and
# can make a virtual environment, or be made to. Like that of a container image it was built with all its optimisations,
# which one that somebody compiled for themselves often was not. That is a fifth of all CPU time.
IS_FIT := import importlib.util, os, shutil, sys; \
	can_be_completed = os.geteuid() == 0 and shutil.which("apt-get"); \
	sys.exit(sys.version_info < (3, 11) or not (importlib.util.find_spec("ensurepip") or can_be_completed))
ifeq ($(origin PYTHON),file)
OWN_PYTHON = $(shell /usr/bin/python3 -c '$(IS_FIT)' 2>/dev/null && echo /usr/bin/python3 || echo $(PYTHON))
else
OWN_PYTHON = $(PYTHON)
endif
check_python = $(1) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "$(1) is missing or older than 3.11. Name another one: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
VENV := .venv
BIN := $(VENV)/bin
# setuptools warns that a folder named like a package may shadow it; here it is the package.
PIP_INSTALL := -W ignore -m pip install --quiet --disable-pip-version-check

# The product as `make install` makes it, compiled: what is tested over sockets, and measured.
INSTALLED := $(CURDIR)/build/installed

# A stamp file is newer than what it was made from, so that a second run has nothing to do.
PYTHON_READY := $(VENV)/.ready
INSTALLED_READY := build/installed/.ready
INSTALLED_SOURCES := $(shell find app config -name __pycache__ -prune -o -type f -print 2>/dev/null) wsgi.py gunicorn.conf.py pyproject.toml
NODE_READY := demo/idp/node_modules/.ready demo/pdp/node_modules/.ready
FRONTEND_READY := frontend/node_modules/.ready
DEMO_READY := build/.demo-application
DEMO_SOURCES := $(shell find frontend/apps frontend/packages \( -name node_modules -o -name dist -o -name tests \) -prune -o -type f -print 2>/dev/null)

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-22s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Steps that do not wait for each other go side by side. What each says is shown in one piece, once it is done, and one
# that fails keeps no other from saying what it found.
SIDE_BY_SIDE = $(MAKE) --jobs=2 --output-sync=target --keep-going

# Much of a test's time is waiting for servers, so one process more than there are cores is worth having. Files go to
# them in the order of their names: unit tests, which are short, come last, and so the processes end together.
TEST_PROCESSES ?= 3
# Stores are thousands of small files, written through to the disk; in memory, where there is room, that costs a third.
TEST_FOLDER := $(shell test "$$(df --output=avail --block-size=M /dev/shm 2>/dev/null | tail -n 1 | tr -dc 0-9)" -ge 4096 && echo /dev/shm)

# --- what people use ---

.PHONY: setup
setup: ## Install everything the other targets need; quick when nothing changed
	@$(SIDE_BY_SIDE) python-setup installed node-setup demo-application browser-setup redis-setup load-setup

.PHONY: demo
demo: python-setup node-setup demo-application ## Start the whole product on this machine and print where to look; Ctrl-C ends it
	@$(BIN)/python -m demo.run

.PHONY: demo-traefik
demo-traefik: python-setup node-setup demo-application redis-setup ## The same behind Traefik: two BFFs, Redis, a second protected host
	@$(BIN)/python -m demo.behind_traefik

.PHONY: test
test: export BFF_PRODUCT := $(INSTALLED)
test: setup ## Run the whole suite, real servers and a real browser included
	@$(SIDE_BY_SIDE) frontend-test $(BEFORE_THE_TESTS)
	PYTEST_DEBUG_TEMPROOT=$(TEST_FOLDER) $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

.PHONY: frontend-test
frontend-test: frontend-setup ## Check the browser side alone: types, tests, the build, the SDK's size
	cd frontend && npm run --silent check

.PHONY: test-long
test-long: export BFF_PRODUCT := $(INSTALLED)
test-long: setup ## Run the drills that take minutes: GiB transfers, kill -9 under load, half an hour of steady load, fuzzing
	$(BIN)/python -m pytest -m long -s

.PHONY: bench
bench: export BFF_PRODUCT := $(INSTALLED)
bench: bench-setup ## Measure the BFF beside other proxies: OPTIONS=--quick for a first look, OPTIONS=--help for more
	$(BIN)/python -m bench.proxies $(OPTIONS)

.PHONY: flame
flame: bench-setup ## Draw where a proxied call spends its time in the interpreter (build/bench/flame.svg)
	$(BIN)/python -m bench.proxies.flame $(OPTIONS)

.PHONY: lint
lint: python-setup frontend-setup ## Look for faults in style and for unformatted code
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	cd frontend && npm run --silent lint

.PHONY: types
types: python-setup ## Check the types
	$(BIN)/mypy

.PHONY: check
check: BEFORE_THE_TESTS := lint types
check: test ## All of it, lint and types too: what continuous integration runs

.PHONY: format
format: python-setup ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: clean
clean: ## Remove what the other targets made, the demo's state included
	rm -rf $(VENV) demo/idp/node_modules demo/pdp/node_modules frontend/node_modules frontend/*/*/dist build var .mypy_cache .ruff_cache .pytest_cache .hypothesis

# --- set-up, step by step ---

.PHONY: python-setup
python-setup: $(PYTHON_READY) ; @:

$(PYTHON_READY): requirements/dev.txt requirements/build.txt pyproject.toml
	@$(call check_python,$(OWN_PYTHON))
	@PYTHON="$(OWN_PYTHON)" tools/ensure-programs venv
	@echo "Installing the Python packages into $(VENV); a minute or two, and only when they have changed."
	test -x $(BIN)/python || $(OWN_PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP_INSTALL) --require-hashes -r requirements/build.txt -r requirements/dev.txt
	$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: node-setup
node-setup: $(NODE_READY) ; @:

%/node_modules/.ready: %/package.json %/package-lock.json
	@tools/ensure-programs node npm
	cd $* && npm ci --no-audit --no-fund
	@touch $@

# One lock file for all workspaces; the packages are built, so that whatever uses them finds them as an outsider would.
.PHONY: frontend-setup
frontend-setup: $(FRONTEND_READY) ; @:

$(FRONTEND_READY): frontend/package.json frontend/package-lock.json $(wildcard frontend/*/*/package.json)
	@tools/ensure-programs node npm
	cd frontend && npm ci --no-audit --no-fund && npm run --silent build
	@touch $@

.PHONY: demo-application
demo-application: $(DEMO_READY) ; @:

$(DEMO_READY): $(FRONTEND_READY) $(DEMO_SOURCES)
	cd frontend && npm run --silent build --workspace bff-demo -- --logLevel warn
	@mkdir -p $(@D) && touch $@

.PHONY: browser-setup
browser-setup:
	@tools/ensure-programs chromium

.PHONY: redis-setup
redis-setup:
	@tools/ensure-programs redis-server

.PHONY: load-setup
load-setup:
	@tools/ensure-programs nginx wrk

.PHONY: bench-setup
bench-setup: setup
	@tools/ensure-programs apache2 mod_auth_openidc curl

.PHONY: installed
installed: $(INSTALLED_READY) ; @:

$(INSTALLED_READY): $(INSTALLED_SOURCES) tools/compile.py requirements/compile.txt requirements/runtime.txt requirements/build.txt
	@echo "Installing the product into build/installed and compiling it; two minutes, and only when it has changed."
	@$(MAKE) --silent install PREFIX="$(INSTALLED)" PYTHON="$(OWN_PYTHON)" COMPILED=yes
	@touch $@

# --- the production installation: the Dockerfile runs these, and so may anybody without Docker ---

PREFIX ?= /srv/bff
# What every call runs through is compiled for the machine; COMPILED=no leaves it to the interpreter, a third slower.
COMPILED ?= yes
COMPILER := build/compiler/bin/python
# What an extension module of that Python is called: its version and the machine's kind.
kind_of = $$($(1) -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))' 2>/dev/null)

# One after the other, also where make may do several things at once.
.PHONY: install
install: ## Install or update the product for production under PREFIX (default /srv/bff)
	@$(MAKE) install-compiler
	@$(MAKE) install-dependencies
	@$(MAKE) install-application
	@$(if $(filter $(INSTALLED),$(PREFIX)),:,echo "Installed in $(PREFIX). Next: $(PREFIX)/.venv/bin/bff config check --config-dir …, then start the server anew.")

.PHONY: install-compiler
install-compiler:
ifeq ($(COMPILED),yes)
	@$(call check_python,$(PYTHON))
	@PYTHON="$(PYTHON)" tools/ensure-programs c-compiler python-headers || \
	  { echo "Or leave the product to the interpreter (tests and benchmarks do not): make install COMPILED=no" >&2; exit 1; }
	@test "$(call kind_of,$(PYTHON))" = "$(call kind_of,$(COMPILER))" || rm -rf build/compiler
	$(PYTHON) -m venv build/compiler
	$(COMPILER) $(PIP_INSTALL) --require-hashes -r requirements/compile.txt
endif

.PHONY: install-dependencies
install-dependencies:
	@$(call check_python,$(PYTHON))
	@test ! -e $(PREFIX)/.venv || test "$(call kind_of,$(PYTHON))" = "$(call kind_of,$(PREFIX)/.venv/bin/python)" || \
	  { echo "$(PREFIX)/.venv was made with another Python. Name that one (make install PYTHON=…), or stop the server and remove $(PREFIX)/.venv first." >&2; exit 1; }
	$(PYTHON) -m venv $(PREFIX)/.venv
	$(PREFIX)/.venv/bin/python $(PIP_INSTALL) --require-hashes -r requirements/build.txt -r requirements/runtime.txt

# Root owns what is installed; the server writes below var only. ServiceConfigs is the operator's: an update keeps it.
.PHONY: install-application
install-application:
	cp -R app config wsgi.py gunicorn.conf.py pyproject.toml README.md $(PREFIX)/
	test -e $(PREFIX)/ServiceConfigs || cp -R ServiceConfigs $(PREFIX)/
	find $(PREFIX)/app \( -name '*.so' -o -name '*.so.new' \) -delete  # made from what was there before
	$(PREFIX)/.venv/bin/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable $(PREFIX)
	$(PREFIX)/.venv/bin/python -m compileall -q $(PREFIX)/app
	install -d -m 0700 $(PREFIX)/var
ifeq ($(COMPILED),yes)
	@echo "Compiling what every call runs through; a minute or two."
	@$(COMPILER) tools/compile.py $(PREFIX) || \
	  { echo "Not compiled: the product in $(PREFIX) is complete, and left to the interpreter. Install again, or with COMPILED=no." >&2; exit 1; }
endif

# --- pinned dependencies ---

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --custom-compile-command "make lock"

.PHONY: lock
lock: ## Pin the newest dependencies that pyproject.toml allows
	@test -x $(BIN)/python || $(OWN_PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP_INSTALL) --require-hashes -r requirements/lock-tool.txt
	$(LOCK) --upgrade --extra redis pyproject.toml --output-file requirements/runtime.txt
	$(LOCK) --upgrade --extra redis --extra dev --constraint requirements/runtime.txt pyproject.toml --output-file requirements/dev.txt
	echo 'setuptools>=77' | $(LOCK) --upgrade - --output-file requirements/build.txt
	printf 'mypy\nsetuptools\n' | $(LOCK) --upgrade --constraint requirements/dev.txt --constraint requirements/build.txt - --output-file requirements/compile.txt
	echo 'uv' | $(LOCK) --upgrade - --output-file requirements/lock-tool.txt

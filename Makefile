# SPDX-License-Identifier: Apache-2.0
# Every target sets itself up, in .venv; a changed setup.cfg, pyproject.toml or PYTHON sets it up again.

PYTHON ?= python3
OFFICIAL ?= fluvio==0.21.0
SEEDS ?= 100000
FAULTS ?= 10000
SOAK ?= 1800
FUZZ ?= 60
MATRIX ?= -m cluster tests/client
COMPILED_TESTS := tests/chaos tests/cli tests/client tests/contrib tests/core tests/dev_cluster tests/process tests/protocol \
    tests/simulation tests/testing tests/unit
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet

help: ## show this list
	@echo "make TARGET, with PYTHON=/path/to/python3 for another interpreter than python3 (3.10 or newer):"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' Makefile

quickstart: $(VENV)/.quickstart ## start a development cluster, produce a few hundred thousand records, check each
	@$(VENV)/bin/python examples/quickstart.py

# Two at once, and then alone the tests that measure time.
test: $(VENV)/.test ## run the tests, but the slow ones; ARGS="-k cli" for some of all tests
ifeq ($(strip $(ARGS)),)
	@status=0; \
	$(VENV)/bin/python -m pytest -m 'not slow and not alone' -n 2 --dist worksteal || status=$$?; \
	$(VENV)/bin/python -m pytest -m 'alone and not slow' || status=$$?; \
	exit $$status
else
	@$(VENV)/bin/python -m pytest $(ARGS)
endif

# Of the tests marked `alone`, those of failing servers: all others that measure time do so in `make test`.
test-portable: $(VENV)/.test ## run the tests without epoll, fork, sendmsg and fcntl, as on Windows
	@status=0; export PYTHONPATH=$(CURDIR)/tests/support/portable; \
	$(VENV)/bin/python -m pytest -m 'not slow and not alone and not official' -n 2 --dist worksteal \
	    tests/unit tests/dev_cluster tests/client $(ARGS) || status=$$?; \
	$(VENV)/bin/python -m pytest -m 'alone and not slow' \
	    tests/client/test_failures.py tests/client/test_retries.py tests/client/test_tls.py $(ARGS) || status=$$?; \
	exit $$status

# The wheel that is made of a copy of the sources, unpacked: what users would install, and the sources stay as they are.
compiled: $(VENV)/.compile ## compile the modules that records pass through, with mypyc and a C compiler, into build/compiled
	@rm -rf build/compiled
	@mkdir -p build/compiled/source
	@cp -R fluvio_sync setup.py setup.cfg pyproject.toml README.md LICENSE build/compiled/source
	@FLUVIO_SYNC_COMPILE=1 $(VENV)/bin/python -m build --wheel --no-isolation --outdir build/compiled/dist build/compiled/source \
	    >build/compiled/log 2>&1 || { cat build/compiled/log; exit 1; }
	@$(VENV)/bin/python -m zipfile --extract build/compiled/dist/*.whl build/compiled/package
	@cp -R tests bench docs examples CONTRIBUTING.md CHANGELOG.md README.md setup.cfg pyproject.toml build/compiled/package
	@cd build/compiled/package && $(abspath $(VENV))/bin/python -c 'import sys, fluvio_sync; sys.exit(not fluvio_sync.compiled)' \
	|| { cat ../log; exit 1; }

# Those of the package; the tests of the repository's pages and packages need not be run twice.
test-compiled: ## run the tests with the compiled modules
ifeq ($(shell command -v cc),)
	@echo "There is no C compiler here (cc): the tests are not run with compiled modules"
else
	@$(MAKE) --no-print-directory compiled
	@status=0; cd build/compiled/package; \
	$(abspath $(VENV))/bin/python -m pytest -m 'not slow and not alone and not official' -n 2 --dist worksteal \
	    $(COMPILED_TESTS) $(ARGS) || status=$$?; \
	$(abspath $(VENV))/bin/python -m pytest -m 'alone and not slow' $(COMPILED_TESTS) $(ARGS) || status=$$?; \
	exit $$status
endif

test-slow: $(VENV)/.test ## run the slow tests: servers of frameworks, packages, pages
	@status=0; \
	$(VENV)/bin/python -m pytest -m 'slow and not alone' -n 2 --dist worksteal || status=$$?; \
	$(VENV)/bin/python -m pytest -m 'slow and alone' || status=$$?; \
	exit $$status

simulate: $(VENV)/.test ## run the simulation with many seeds; SEEDS=100000
	@FLUVIO_SYNC_SEEDS=$(SEEDS) $(VENV)/bin/python -m pytest tests/simulation $(ARGS)

chaos: $(VENV)/.test ## break connections of producers at work, and count what was lost; FAULTS=10000
	@FLUVIO_SYNC_FAULTS=$(FAULTS) $(VENV)/bin/python -m pytest -s tests/chaos/test_chaos.py $(ARGS)

soak: $(VENV)/.test ## half an hour of faults, forks, slow links and stalled log handlers; SOAK=1800 (seconds)
	@FLUVIO_SYNC_SOAK=$(SOAK) $(VENV)/bin/python -m pytest -s tests/chaos/test_soak.py $(ARGS)

fuzz: $(VENV)/.fuzz ## have atheris draw bytes for every decoder, on Linux; FUZZ=60 (seconds)
	@$(VENV)/bin/python -m tests.fuzz.harness $(FUZZ) build/fuzz

cluster-matrix: $(VENV)/.test ## run the client's tests against every kind of development cluster; MATRIX="-m cluster tests/client"
	@status=0; for tls in plain tls mutual; do for spus in 1 3; do for version in 24 25; do \
	    outcome=passed; \
	    FLUVIO_SYNC_TEST_TLS=$$tls FLUVIO_SYNC_TEST_SPUS=$$spus FLUVIO_SYNC_TEST_SPU_VERSION=$$version \
	    $(VENV)/bin/python -m pytest -q $(MATRIX) $(ARGS) >$(VENV)/matrix.log 2>&1 \
	    || { outcome=FAILED; status=1; cat $(VENV)/matrix.log; }; \
	    echo "$$tls, SPUs: $$spus, SPU version $$version: $$outcome ($$(tail -n 1 $(VENV)/matrix.log))"; \
	done; done; done; exit $$status

# Coverage takes a lock of its own at each call, and a process that a signal handler interrupts there hangs; and it is
# imported before anything else.  Tests that the one surely breaks are left out, others that fail run again without it.
coverage: $(VENV)/.test ## run the tests and say what they do not reach; fails below 95 %
	@$(VENV)/bin/python -m coverage erase
	@$(VENV)/bin/python -m coverage run -m pytest -m 'not interrupts' $(ARGS) \
	|| $(VENV)/bin/python -m pytest --last-failed --last-failed-no-failures none
	@$(VENV)/bin/python -m coverage combine --quiet
	@$(VENV)/bin/python -m coverage report

lint: types ## check style, types and the layers of the package
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports

types: $(VENV)/.lint ## check types: of everything, and that of the public names none is missing
	$(VENV)/bin/mypy
	$(VENV)/bin/basedpyright --pythonpath $(VENV)/bin/python
	$(VENV)/bin/python tools/verify_types.py

docs: $(VENV)/.docs ## build the documentation, into build/docs
	@$(VENV)/bin/python -m sphinx -W --keep-going -n -q -b html docs build/docs
	@echo "The documentation is at build/docs/index.html"

hooks: $(VENV)/.lint ## have git check style and types before each commit
	@$(VENV)/bin/pre-commit install

# In environments that have nothing but what is pinned, by version and hash; pip refuses anything else.
dist: $(VENV)/.test ## build what is uploaded, into dist, and check it; for this platform a compiled wheel as well
	@rm -rf dist build/tools build/local
	@$(PYTHON) tools/make_venv.py build/tools
	@build/tools/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --only-binary :all: \
	    -r tools/build-requirements.txt
	@build/tools/bin/python -m build --no-isolation --outdir dist .
	@build/tools/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --only-binary :all: \
	    -r tools/compile-requirements.txt
	@mkdir -p build/local && tar -xzf dist/*.tar.gz --strip-components 1 -C build/local
	@FLUVIO_SYNC_COMPILE=1 build/tools/bin/python -m build --wheel --no-isolation --outdir build/local/dist build/local
	@build/tools/bin/python tools/repair_wheel.py build/local/dist dist
	@$(VENV)/bin/python -m twine check --strict dist/*

bench: $(VENV)/.bench ## measure what a record costs, beside the official wheel; ARGS as for bench/measure.py
	@$(VENV)/bin/python bench/measure.py $(ARGS)

clean: ## remove .venv and all that was built
	rm -rf $(VENV) .nox build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -prune -exec rm -rf {} +

# The wheels of the extras make it faster; it works without them.
$(VENV)/.quickstart: $(VENV)/.python setup.cfg pyproject.toml
	@echo "Installing fluvio-sync"
	@$(PIP) install --prefer-binary --only-binary google-crc32c,siphash24,cramjam -e '.[fast,compression]' 2>$(VENV)/extras.log \
	|| { echo "Note: the wheels that make it fast are not to be had here (see $(VENV)/extras.log); going on without"; \
	     $(PIP) install -e . ; }
	@touch $@

# The official wheel is compared with, and uWSGI run, where they can be installed; tests that need them are skipped
# elsewhere.
$(VENV)/.test: $(VENV)/.python setup.cfg pyproject.toml
	@echo "Installing fluvio-sync and what its tests need"
	@$(PIP) install -e '.[test]'
	@$(PIP) install '$(OFFICIAL)' >$(VENV)/official.log 2>&1 \
	|| echo "Note: the official wheel $(OFFICIAL) cannot be installed here (it may need a C compiler, see" \
	        "$(VENV)/official.log); the tests that use it will be skipped"
	@$(PIP) install 'uwsgi>=2.0.22' >$(VENV)/uwsgi.log 2>&1 \
	|| echo "Note: uWSGI cannot be installed here (it needs a C compiler, see $(VENV)/uwsgi.log);" \
	        "the tests that use it will be skipped"
	@touch $@

$(VENV)/.compile: $(VENV)/.test
	@$(PIP) install -e '.[compile]'
	@touch $@

$(VENV)/.bench: $(VENV)/.test
	@$(PIP) install -e '.[bench]'
	@touch $@

# Where atheris cannot be installed, the harness says so.
$(VENV)/.fuzz: $(VENV)/.test
	@$(PIP) install --only-binary atheris -e '.[fuzz]' >$(VENV)/fuzz.log 2>&1 \
	|| echo "Note: atheris cannot be installed here (see $(VENV)/fuzz.log)"
	@touch $@

$(VENV)/.lint: $(VENV)/.python setup.cfg pyproject.toml
	@echo "Installing fluvio-sync and what checks it"
	@$(PIP) install -e '.[lint]'
	@touch $@

$(VENV)/.docs: $(VENV)/.python setup.cfg pyproject.toml
	@echo "Installing fluvio-sync and what its documentation needs"
	@$(PIP) install -e '.[docs]'
	@touch $@

# Always looked at, changed only if there is another interpreter.
$(VENV)/.python: FORCE
	@command -v $(PYTHON) >/dev/null \
	|| { echo "There is no $(PYTHON). Name a Python of 3.10 or newer: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	|| { echo "$$($(PYTHON) --version 2>&1) is too old, fluvio-sync needs 3.10 or newer: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) tools/make_venv.py $(VENV)

FORCE:

.PHONY: help quickstart test test-portable compiled test-compiled test-slow simulate chaos soak fuzz cluster-matrix coverage lint types docs hooks dist bench clean FORCE
.DELETE_ON_ERROR:

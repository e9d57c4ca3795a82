# make demo    from a fresh clone to the mushroom table, trained on two ranks
# make test    set-up, lint and every test
# make help    the other targets
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV ?= .venv
BIN := $(CURDIR)/$(VENV)/bin
PYTHON := $(BIN)/python
PYTHON3 ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && command -v $$python && break; done)
RANKS ?= 1 2 3 4
BENCH ?=
# Tests that do not wait for processes: a file after the other in as many processes as there are cores, at most four.
SPREAD := -n auto --maxprocesses 4 --dist loadfile
BASE_EXTRAS := '.[mpich]'
TEST_EXTRAS := '.[test,lint,docs]'
# Built against Kerberos' headers, which install_servers.sh brings.
KERBEROS := 'requests-gssapi>=1.3'
BENCH_EXTRAS := '.[bench]'
KERNELS := $(wildcard engine/_kernels/*.pyx engine/_kernels/*.pxd engine/_kernels/*.h) launch/yarn/ports.c
# What a checked build needs: sources only, never what another build made of them.
CHECKED := .build/checked
CHECKED_SOURCES := engine launch samesum.py setup.py pyproject.toml README.md LICENSE tests examples benchmarks

export PATH := $(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
export PIP_NO_INPUT := 1

.PHONY: help demo setup test lint docs test-core test-mpi test-cluster servers test-checked prove torture bench clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' $(firstword $(MAKEFILE_LIST))

# A registry may be busy for a while: several tries, each after a longer pause.
define pip_install
for pause in 5 20 60 0; do \
	PYTHONWARNINGS=ignore $(PYTHON) -m pip install --quiet --retries 5 $(1) && break; \
	[[ $$pause != 0 ]] || exit 1; \
	echo "pip could not install; next try in $$pause s" >&2; sleep $$pause; \
done
endef

$(VENV)/pyvenv.cfg:
	@[[ -n "$(PYTHON3)" ]] || { echo "samesum needs Python 3.10 or newer with venv (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@command -v "$${CC:-cc}" > /dev/null || { echo "samesum's kernels need a C compiler (Debian: apt-get install build-essential)" >&2; exit 1; }
	@$(PYTHON3) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' \
		|| { echo "samesum's kernels need the headers of $(PYTHON3) (Debian: apt-get install python3-dev)" >&2; exit 1; }
	@echo "creating $(VENV) with $(PYTHON3)"
	@$(PYTHON3) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.tools: $(VENV)/pyvenv.cfg
	@echo "installing the build tools"
	@$(call pip_install,'pip>=24' 'setuptools>=77' 'cython>=3.1' 'numpy>=2.0')
	@touch $@

# The package stays editable; its kernels are built in place, by a rule of their own that rebuilds only what changed.
$(VENV)/.base: $(VENV)/.tools pyproject.toml
	@echo "installing samesum and MPICH"
	@export SAMESUM_KERNELS=0; $(call pip_install,--no-build-isolation --editable $(BASE_EXTRAS))
	@touch $@

$(VENV)/.test: $(VENV)/.tools pyproject.toml
	@echo "installing samesum and what its tests and linters need"
	@export SAMESUM_KERNELS=0; $(call pip_install,--no-build-isolation --editable $(TEST_EXTRAS))
	@touch $(VENV)/.base $@

$(VENV)/.kernels: $(VENV)/.tools $(KERNELS) setup.py
	@echo "building the kernels"
	@$(PYTHON) setup.py --quiet build_ext --inplace --parallel 2
	@touch $@

# make setup   the environment for tests, in .venv
setup: $(VENV)/.test $(VENV)/.kernels

demo: $(VENV)/.base $(VENV)/.kernels
	$(BIN)/mpiexec -n 2 $(PYTHON) examples/mushroom.py

test: setup
	@$(PYTHON) tests/run_suites.py lint docs test-core test-mpi test-cluster test-checked

# make lint    ruff, mypy, cython-lint and the layer rules
lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/cython-lint engine/_kernels
	$(BIN)/lint-imports --no-logo

# make docs    the manual, in .build/site/index.html; a warning or a dead link is an error
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# make test-core     everything that needs no MPI launcher and no server
test-core: setup
	@status=0; \
	$(PYTHON) -m pytest $(SPREAD) --ignore=tests/launch tests || status=$$?; \
	$(PYTHON) -m pytest tests/launch || status=$$?; \
	exit $$status

# make test-mpi      tests/mpi on 1, 2, 3 and 4 ranks; RANKS="2" for one of them. Rank 0 is shown, the others when one fails.
test-mpi: setup
	@mkdir -p .build/logs
	@for ranks in $(RANKS); do \
		echo "tests/mpi on $$ranks ranks"; rm -f .build/logs/mpi-*.log; \
		$(BIN)/mpiexec -n $$ranks bash tests/mpi/one_rank.sh $(PYTHON) -m pytest --with-mpi tests/mpi \
			|| { tail -n 50 .build/logs/mpi-*.log; exit 1; }; \
	done

# make test-cluster  everything on a real HDFS, YARN, Kerberos, Slurm and S3 server, which it starts; needs root, Java, Maven, Kerberos and Slurm, and installs them
test-cluster: servers setup
	@$(PYTHON) -c 'import requests_gssapi' 2>/dev/null || $(call pip_install,$(KERBEROS))
	$(PYTHON) -m pytest -v --timeout=480 --timeout-method=signal -o faulthandler_timeout=1200 tests/cluster

servers:
	@bash tests/cluster/install_servers.sh

# make test-checked  kernel and model tests with bounds checks on in every kernel
test-checked: setup
	@mkdir -p $(CHECKED)
	@tar --exclude='*.so' --exclude='_kernels/*.c' --exclude=__pycache__ -cf - $(CHECKED_SOURCES) | tar -xf - -C $(CHECKED)
	@cd $(CHECKED) && SAMESUM_BOUNDSCHECK=1 CFLAGS=-O1 $(PYTHON) setup.py --quiet build_ext --inplace --parallel 2
	@grep -lq RaiseBufferIndexError $(CHECKED)/engine/_kernels/*.c
	@cd $(CHECKED) && $(PYTHON) -c "import engine, sys; sys.exit(not engine.__file__.startswith('$(CURDIR)/$(CHECKED)'))"
	cd $(CHECKED) && PYTHONPATH=. $(PYTHON) -m pytest $(SPREAD) tests/kernels tests/models

# make prove   the same bytes on 1, 2, 3, 4 and 7 ranks, on 1 and 2 threads, in changed environments
prove: $(VENV)/.base $(VENV)/.kernels
	$(PYTHON) benchmarks/same_bytes.py

# make torture trainings killed twenty times and resumed on other numbers of ranks, processes of jobs and of YARN killed a hundred times: the same bytes
torture: $(VENV)/.test $(VENV)/.kernels
	@for family in trees linear pagerank label_propagation; do $(PYTHON) benchmarks/torture.py --family $$family $(TORTURE) || exit 1; done
	@$(PYTHON) benchmarks/torture.py --family jobs --kills 100 $(TORTURE)
	@bash tests/cluster/install_servers.sh
	@$(PYTHON) benchmarks/torture_yarn.py $(TORTURE)
	@unshare --mount sh -c 'mount -t tmpfs tmpfs /dev/shm && exec $(PYTHON) benchmarks/torture_submits.py'

# make bench   speed beside peers, results in benchmarks/results; BENCH="--scenario floats --repeats 1" for some of the trees alone
bench: setup
	@export SAMESUM_KERNELS=0; $(call pip_install,--no-build-isolation --editable $(BENCH_EXTRAS))
	$(PYTHON) benchmarks/trees.py $(BENCH)
	$(if $(BENCH),,$(PYTHON) benchmarks/linear.py)
	$(if $(BENCH),,for section in load rank peers labels report; do $(PYTHON) benchmarks/graphs.py $$section || exit 1; done)

# make clean   remove what was built, the environment too
clean:
	rm -rf $(VENV) .build build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -f engine/_kernels/*.c engine/_kernels/*.so launch/yarn/*.so

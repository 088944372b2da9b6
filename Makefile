# SPDX-License-Identifier: Apache-2.0
# Front door only: what happens is in scripts/ and in the CMake presets.

DIR ?=
STEP ?=
APP ?= flaskapp:app
PORT ?= 8080
PREFIX ?= /usr/local
TARGET ?=
SECONDS ?= 600
PYTHON ?= /usr/bin/python3
export PENSTOCK_PYTHON = $(PYTHON)
run = scripts/deps && /usr/bin/python3 -B scripts/run.py

.PHONY: help demo serve test bench fuzz docs-check deps build install clean
.DEFAULT_GOAL := help

help:
	@echo "make demo [DIR=path]   build everything; hash the files of DIR through two Python workers"
	@echo "make serve [APP=module:callable] [PORT=8080]   serve a WSGI application; default: an upload page"
	@echo "make test [STEP=name]  build everything and run every test, or the steps named (STEP=list)"
	@echo "make bench             measure, and record the results in perf/"
	@echo "make fuzz [TARGET=name] [SECONDS=600]   fuzz each target, or one; tests/fuzz/corpus keeps what was new"
	@echo "make docs-check        execute the snippets of README.md and docs/"
	@echo "make build             the NIF, the Python package and the Erlang application"
	@echo "make install [PREFIX=/usr/local]   the command penstock, the Python packages, the C++ library"
	@echo "make deps              install what is needed from Debian's packages"
	@echo "make clean             remove everything that was built"
	@echo "PYTHON=/path/to/python3 with any of them: another Python (3.11 or newer, shared libpython)"

demo:
	@$(run) demo "$(DIR)"

serve:
	@$(run) serve "$(APP)" "$(PORT)"

test:
	@$(run) test $(STEP)

# The other servers and the load generator that bench/wsgi.py compares with are needed here only.
bench:
	@scripts/deps gunicorn uwsgi-core uwsgi-plugin-python3 wrk procps
	@$(run) bench

fuzz:
	@$(run) fuzz "$(TARGET)" "$(SECONDS)"

docs-check:
	@$(run) test docs

build:
	@$(run) build

install:
	@$(run) install "$(PREFIX)"

deps:
	@scripts/deps

clean:
	rm -rf build _build priv log

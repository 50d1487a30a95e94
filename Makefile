# Two commands for a fresh machine with Python 3.11 or newer and make:
#   make demo    serve the examples on http://127.0.0.1:8000
#   make test    run the checks and the tests
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
# Of `make test`: more arguments for pytest.
PYTEST ?=
# Of `make bench`: arguments, and who is measured beside gateway.
BENCH  ?=
PEERS   = 'uvicorn[standard]' zttp granian gunicorn hypercorn websockets wsproto a2wsgi flask
# The lock file names where it was made from; contributors' mirrors stay out of it.
INDEX   = --default-index https://pypi.org/simple

.DEFAULT_GOAL := help
.PHONY: help demo test unit check format docs fuzz soak bench bench-websocket bench-tls lock clean

help:
	@grep -E '^[a-z-]+: ' Makefile | sed 's/:.*##/\t/' | expand -t 18

# A stamp per purpose, so that an unchanged pyproject.toml installs nothing again.
$(VENV)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'gateway needs Python 3.11 or newer: make PYTHON=python3.12 …'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/demo: $(VENV)/venv pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[standard,examples]'
	@touch $@

$(VENV)/dev: $(VENV)/venv pyproject.toml
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

demo: $(VENV)/demo ## serve examples/gateway.toml on 127.0.0.1:8000
	$(BIN)/python examples/django_site/manage.py setup_demo
	$(BIN)/gateway -c examples/gateway.toml

test: check ## run every check and every test
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST)

unit: $(VENV)/dev ## run the types and the tests that need no other process
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/e2e --ignore tests/deploy \
	  --ignore tests/examples --ignore tests/workers --ignore tests/process $(PYTEST)

check: $(VENV)/dev ## lint, types, architecture
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if command -v uv >/dev/null; then echo uv lock --check; uv lock --check --python $(BIN)/python $(INDEX); fi

format: $(VENV)/dev ## let ruff mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/dev ## write the generated pages again
	$(BIN)/python -m gateway.settings.document

fuzz: $(VENV)/dev ## mutate the corpus of raw requests for a minute
	$(BIN)/python -m tests.protocols.fuzz --seconds 60

soak: $(VENV)/dev ## rolls, upgrades, recycling and crashes at full scale: needs wrk, h2load and some minutes
	$(BIN)/python -m benchmarks.soak

# A place of its own: what the peers bring along stays out of the tests.
.venv-bench/bench: pyproject.toml
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --upgrade --editable . $(PEERS)
	@touch $@

bench: .venv-bench/bench ## measure gateway beside its peers: needs wrk and two cores
	@.venv-bench/bin/python -m benchmarks.hello $(BENCH)

bench-websocket: .venv-bench/bench ## the same for WebSocket messages and idle sockets
	@.venv-bench/bin/python -m benchmarks.websocket $(BENCH)

bench-tls: .venv-bench/bench ## the same for TLS: handshakes and requests; needs wrk, h2load, openssl
	@.venv-bench/bin/python -m benchmarks.tls $(BENCH)

lock: ## write uv.lock again
	uv lock $(INDEX)

clean: ## remove what the other commands made
	rm -rf .venv* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

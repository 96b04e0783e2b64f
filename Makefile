# pgberth. `make deploy` and `make test` set everything up on a fresh machine, as root or as a plain user.

INVENTORY ?= inventories/local.py
PYTHON    ?= python3
BIN       := .venv/bin
# The value of a variable, as it was given, as one word for the shell.
quoted     = '$(subst ','\'',$(value $(1)))'
PYINFRA    = $(BIN)/pyinfra $(call quoted,INVENTORY)
SOURCES   := $(shell find deploy/pgberth -name '*.py')
LOCAL     := $(BIN)/python -m pgberth.cli
LIMIT_TO   = $(if $(value LIMIT),--limit $(call quoted,LIMIT))

.PHONY: deploy verify status recycle url psql logs entrypoint inject clean test test-all test-fast test-hosts crash-matrix bench lint

deploy: .venv/compiled          ## tenants of the local inventory, made or brought up to date
	@$(PYINFRA) deploy/provision.py -y $(LIMIT_TO)

verify: .venv/compiled          ## the smoke suite alone
	@$(PYINFRA) deploy/verify.py -y $(LIMIT_TO)

status: .venv/compiled          ## what is there
	@$(PYINFRA) deploy/status.py -y $(LIMIT_TO)

recycle: .venv/compiled         ## LIMIT=x [PENDING=true] [REASON=text]: new containers, canary first
	@$(PYINFRA) deploy/recycle.py -y $(LIMIT_TO) $(if $(value PENDING),--data pending=$(call quoted,PENDING)) $(if $(value REASON),--data reason=$(call quoted,REASON))

url: .venv/compiled             ## TENANT=x [COMPONENT=y] [SHOW_PASSWORD=1]: a connection URL
	@$(LOCAL) url --inventory $(call quoted,INVENTORY) --tenant $(call quoted,TENANT) --component $(call quoted,COMPONENT) $(if $(value SHOW_PASSWORD),--show-password)

entrypoint: .venv/compiled      ## TENANT=x [PLUGIN='command ...']: the entrypoint for a workload's image, on standard output
	@$(LOCAL) entrypoint --inventory $(call quoted,INVENTORY) --tenant $(call quoted,TENANT) --plugin $(call quoted,PLUGIN)

inject: .venv/compiled          ## COMPONENT=y [DIALECT=lib_pq]: the URL on standard input, with the component's search_path in it
	@$(LOCAL) inject --inventory $(call quoted,INVENTORY) --component $(call quoted,COMPONENT) $(if $(value DIALECT),--dialect $(call quoted,DIALECT))

psql: .venv/compiled            ## TENANT=x [COMPONENT=y]: psql as the app, no password typed
	@$(LOCAL) psql --inventory $(call quoted,INVENTORY) --tenant $(call quoted,TENANT) --component $(call quoted,COMPONENT)

logs: .venv/compiled            ## TENANT=x: the server's log
	@$(LOCAL) logs --inventory $(call quoted,INVENTORY) --tenant $(call quoted,TENANT)

clean: .venv/compiled           ## remove what the local inventory made, data included; asks unless YES=1
	@$(LOCAL) clean --inventory $(call quoted,INVENTORY) $(if $(value YES),--yes)

test: .venv/tools lint         ## every promise on this machine, on real containers; long lists are sampled
	@sh .ci/prepare
	@$(BIN)/$(if $(value ARGS),pytest --ignore=tests/bench $(ARGS),python -m tests.groups)

test-all: export PGBERTH_TEST_ALL = 1
test-all: test                 ## the same, with every case of every list: all faults, the whole crash matrix, every trial

test-fast: .venv/tools         ## what needs no container
	@$(BIN)/pytest --ignore=tests/deploy --ignore=tests/bench --ignore=tests/hosts $(ARGS)

test-hosts: .venv/tools        ## throwaway hosts with systemd and sshd; needs root
	@$(BIN)/pytest tests/hosts $(ARGS)

crash-matrix: .venv/tools      ## a deploy dies at each of its steps, in each way
	@sh .ci/prepare
	@PGBERTH_TEST_ALL=1 $(BIN)/pytest tests/deploy/test_crashes.py tests/hosts/test_crashes.py $(ARGS)

bench: .venv/tools             ## speed, each figure as a ratio to a floor measured beside it
	@sh .ci/prepare
	@$(BIN)/pytest tests/bench -s $(ARGS)

lint: .venv/tools              ## ruff, mypy, yamllint
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/yamllint --strict .
	@$(BIN)/python -m tests.sql_lint

.venv/bundle: pyproject.toml
	@sh .ci/venv $(call quoted,PYTHON)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

# pyinfra writes no bytecode, so without this each run would compile the bundle again.
.venv/compiled: .venv/bundle $(SOURCES)
	@$(BIN)/python -m compileall -q deploy/pgberth
	@touch $@

.venv/tools: .venv/compiled
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

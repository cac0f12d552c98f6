# What a developer needs, by name. `make` alone lists the targets.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Queries are checked against .sqlx, not against a database.
export SQLX_OFFLINE ?= true

# Arguments of hostsync-bench, as in: make bench BENCH="--rounds 5 --json result.json"
BENCH ?=

# How many times the floor's processor time a host costs, in the profile of the tests; `make bench-guard` prints it.
BENCH_GUARD ?= 2.0

# Arguments of hostsync-sizes.
SIZES ?=

# Arguments of hostsync-autoscale, and what it plays with: PROFILE=release for figures.
AUTOSCALE ?=
PROFILE ?= dev

# Options of `cargo test`, such as --no-fail-fast.
TEST ?=

# Tests wait far more than they work.
export RUST_TEST_THREADS ?= $(shell expr 2 '*' $$(nproc))

# Addresses of the development servers that are chosen here, whichever another target that runs beside this one has chosen.
WITH_SERVERS = servers=$$(DB=$(DB) BROKER=$(BROKER) ENGINE=$(ENGINE) deploy/dev/servers env) && eval "$$servers" &&

# The programs that a demonstration or a measurement runs beside its own.
SERVICES = --bin hostsync-scheduler --bin hostsync-worker --bin hostsync-api

# A database with the schema, for checking .sqlx.
SQLX_DATABASE = hostsync_sqlx

include deploy/dev.mk deploy/chart.mk

.PHONY: proto help demo bench bench-more bench-programs bench-guard sizes autoscale history test test-database test-broker test-engine test-servers test-newest test-runs test-redelivery test-long test-rpc-client test-openapi test-traces test-alerts test-upgrade test-console check build-tests fetch-servers ci ci-full fmt clippy doc deny tools sqlx-check openapi-check stop-demo

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | sort | \
	    while IFS="$$(printf '\t')" read -r name text; do printf '  %-14s %s\n' "$$name" "$$text"; done

demo: ## show everything at work on real servers, and leave it up
	@DB=$(DB) bench/demo.sh run

# With BENCH, one measurement by those options, which the document does not tell.
bench: up bench-programs ## measure hostsync against others, and write docs/benchmark.md; BENCH="--help" lists options of one measurement
	@$(if $(BENCH),$(WITH_SERVERS) $${CARGO_TARGET_DIR:-target}/release/hostsync-bench $(BENCH),bench/bench.sh all)

bench-more: bench-programs ## the same with other sizes, documents, workers and distances, which takes an hour
	@bench/bench.sh more

bench-programs: .dev/chunked/ready .dev/report/ready
	@bench/today/build .dev/bench/today
	cargo build --release $(SERVICES) --bin hostsync-bench

# Alone on the servers, since it compares the processor time of these too; in the profile that tests have anyway.
bench-guard: up ## fail if a host costs a quarter more processor time, against the bound, than it did (BENCH_GUARD)
	cargo build --workspace --bins
	@$(WITH_SERVERS) $${CARGO_TARGET_DIR:-target}/debug/hostsync-bench --hosts 2000 --today floor --guard $(BENCH_GUARD)

sizes: up ## measure what a run needs of memory, network and disk; SIZES="--help" lists options
	cargo build --release $(SERVICES) --bin hostsync-sizes
	@$(WITH_SERVERS) $${CARGO_TARGET_DIR:-target}/release/hostsync-sizes $(SIZES)

# The chart is rendered as an installation would have it, and turned into JSON, which needs no crate.
autoscale: up chart-tools ## play the autoscaler's loop, 0 to N to 0 workers; AUTOSCALE="--help" lists options
	cargo build --profile $(PROFILE) $(SERVICES) --bin hostsync-autoscale
	@mkdir -p .dev/autoscale
	@$(CHART_TOOLS)/bin/helm template autoscale deploy/chart -f bench/autoscale.yaml > .dev/autoscale/rendered.yaml
	@$(CHART_TOOLS)/venv/bin/python -c 'import json, sys, yaml; json.dump([one for one in yaml.safe_load_all(sys.stdin) if one], sys.stdout)' \
	    < .dev/autoscale/rendered.yaml > .dev/autoscale/rendered.json
	@$(WITH_SERVERS) $${CARGO_TARGET_DIR:-target}/$(PROFILE:dev=debug)/hostsync-autoscale $(AUTOSCALE)

# MILLIONS=1 for a quick look. On MySQL: bench/history.sh 10 -h127.0.0.1 -P<port> -uroot
history: up ## measure the lists of the API with 10 million details in the table
	@$(WITH_SERVERS) bench/history.sh $${MILLIONS:-10}

# The recipe of `down` stands in deploy/dev.mk.
down: stop-demo

stop-demo:
	@bench/demo.sh stop

# $(call run,TESTS,ENVIRONMENT,ARGUMENTS): builds the programs and these tests, and runs the tests.
#
# The whole workspace, whatever is run: cargo chooses the features of a crate for all that is compiled together, and would
# compile some thirty crates, ours among them, once more for every other choice of packages or for programs alone.
run = cargo build --workspace --bins $(1) && $(WITH_SERVERS) $(2) cargo test --workspace $(TEST) $(1) $(3)

test: up ## run all tests on the real servers
	@deploy/dev/servers up elasticsearch7
	cargo build --workspace --bins --tests
	$(WITH_SERVERS) cargo test --workspace

# What depends on one server, on another version of it.
test-database: up ## run the tests that depend on the database (DB=mysql-9.7 for another)
	$(call run,--test migrations --test outbox --test lists --test dead_letters --test it --test rpc --test sync --test faults --test full_sync \
	    --test schedule --test freshness --test looking --test redelivery --test crash --test drain --test capacity --test refusals --test search_limit \
	    --test searches_at_once)

test-broker: up ## run the tests that depend on the broker (BROKER=rabbitmq-4.3 for another)
	$(call run,--test it,,-- doctor:: operate::)
	$(call run,--test outbox --test redelivery --test faults --test crash --test drain --test watching --test fleet)

test-engine: up ## run the tests that depend on the search engine (ENGINE=opensearch-3 for another)
	$(call run,--test it,,-- probe::)
	$(call run,--test elasticsearch_search --test sync --test full_sync --test troubled_sources)

test-servers: ## run what depends on a server on every version of it, and go on where it was (SERVERS=rabbitmq-4.3 for one)
	@deploy/dev/test-servers

# What tests in Python need, from PyPI: an environment for each folder of tests.
define PYTHON_ENVIRONMENT
python3 -m venv $(@D)
$(@D)/bin/pip install --quiet --disable-pip-version-check -r $<
@touch $@
endef

.dev/%/ready: tests/%/requirements.txt
	$(PYTHON_ENVIRONMENT)

.dev/chunked/ready: bench/chunked/requirements.txt
	$(PYTHON_ENVIRONMENT)

.dev/report/ready: bench/report/requirements.txt
	$(PYTHON_ENVIRONMENT)

test-rpc-client: up .dev/rpc-client/ready ## call every gRPC method by a client in Python
	$(call run,--test rpc_client,HOSTSYNC_RPC_CLIENT_PYTHON=$(CURDIR)/.dev/rpc-client/bin/python)

test-openapi: up .dev/openapi/ready ## judge the OpenAPI document by schemathesis and by a client made from it
	$(call run,--test openapi,HOSTSYNC_OPENAPI_TOOLS=$(CURDIR)/.dev/openapi/bin,-- --test-threads 1)

test-long: up ## run the tests that wait for minutes
	$(call run,--test refusals,,-- --ignored)

test-traces: up ## find runs in what a real OpenTelemetry collector receives
	@deploy/dev/collector
	$(call run,--test traces,HOSTSYNC_COLLECTOR=$(CURDIR)/.dev/collector/collector)

test-upgrade: up ## run the last release and this one side by side, with a migration between (DB=mysql for MySQL)
	@deploy/dev/previous-release
	$(call run,--test upgrade,HOSTSYNC_PREVIOUS_RELEASE=$(CURDIR)/.dev/previous/current)

test-console: up .dev/console/ready ## use the console in a real browser
	@deploy/dev/browser
	$(call run,--test console,HOSTSYNC_CONSOLE_PYTHON=$(CURDIR)/.dev/console/bin/python)

# One thread a test: they wait far more than they work.
test-alerts: up ## make ten failures on the real services and see which alerts a real Prometheus fires
	@deploy/dev/prometheus
	$(call run,--test alerts,,-- --test-threads 10)

proto: ## generate the code of api/proto/cmpool.proto anew
	cargo run --quiet --manifest-path api/proto/generate/Cargo.toml

check: fmt clippy doc sqlx-check openapi-check ## check form, lints, documentation, queries and the OpenAPI document

fmt:
	cargo fmt --all --check

clippy:
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --workspace --test rpc_client --test console --test openapi --test traces --test alerts --test upgrade \
	    -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

# Without `advisories`, which needs the network: cargo deny check advisories
deny: ## check licences and duplicates of the dependencies
	@deploy/dev/tools cargo-deny
	cargo deny --workspace check licenses bans sources

tools: ## install the developer tools that are missing
	@deploy/dev/tools

# .sqlx is what MariaDB says of the queries.
sqlx-check:
	@deploy/dev/tools sqlx-cli
	@DB=mariadb deploy/dev/servers up mariadb
	$(WITH_SERVERS) export SQLX_OFFLINE=false DATABASE_URL=$$HOSTSYNC_DEV_MARIADB_URL/$(SQLX_DATABASE) && \
	    cargo sqlx database reset -y --source migrations && \
	    cargo sqlx prepare --workspace --check

openapi-check: up
	$(call run,--test it,,document::)

# What cannot be had today is left out, with a line that says so. The whole of it, on each server: make test-servers.
test-newest: ## run whole runs on the newest MySQL and RabbitMQ, and redeliveries on the newest RabbitMQ
	@db=mysql-9.7 broker=rabbitmq-4.3; \
	deploy/dev/servers fetch $$db || { db=mysql; echo "skipped: mysql-9.7; instead of it: mysql"; }; \
	deploy/dev/servers fetch $$broker || { broker=rabbitmq; echo "skipped: rabbitmq-4.3; instead of it: rabbitmq"; }; \
	$(MAKE) test-runs DB=$$db BROKER=$$broker && $(MAKE) test-redelivery BROKER=$$broker

test-runs: up
	$(WITH_SERVERS) cargo test --workspace --test sync

test-redelivery: up
	$(WITH_SERVERS) cargo test --workspace --test redelivery

# What `make ci` runs, compiled before its tests begin: from then on two streams of tests need no turn at the target folder.
build-tests:
	cargo build --workspace --bins --tests --test rpc_client --test openapi --test traces

# What cannot be had today is skipped, with a line, by the target that needs it.
fetch-servers:
	@deploy/dev/servers fetch mariadb rabbitmq opensearch elasticsearch7
	@for server in mysql-9.7 rabbitmq-4.3; do deploy/dev/servers fetch $$server || true; done

# Every change waits for it: whoever adds what takes long moves something else to ci-full. Tests mostly wait, so `make test` runs
# beside everything else that needs servers. sqlx-check is the last there, since it makes our crates look changed to cargo.
ci: ## everything that .ci/run does: all checks, all tests, and what depends on the servers on the newest ones too
	@deploy/dev/side-by-side 'fmt clippy doc build-tests' fetch-servers
	@deploy/dev/side-by-side test 'chart-check test-rpc-client test-openapi test-traces test-newest sqlx-check'
	@$(MAKE) bench-guard

ci-full: ci ## ci, the licences, the long plays, and every version of every server
	$(MAKE) deny
	$(MAKE) test-alerts
	$(MAKE) autoscale
	$(MAKE) test-console
	@if deploy/dev/previous-release known; then $(MAKE) test-upgrade && $(MAKE) test-upgrade DB=mysql; fi
	$(MAKE) test-rpc-client DB=mysql
	$(MAKE) test-long
	$(MAKE) test-servers

# Planck. `make help` lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test lint fmt bench kill dist fuzz sanitize siege sim interplay peers bench-edge bench-transfer conformance clean-demo

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## the main job: installs what it needs, builds, serves a departures board over real data
	@scripts/demo

test: ## every test, from a fresh machine
	@scripts/test

lint: ## formatting, clippy and shellcheck, warnings refused
	@scripts/lint

fmt: ## formats the code
	@cargo fmt --all && for of in examples/{flights,live,transfer,rules} tests/{lists,fuzz}; do \
		cargo fmt --manifest-path $$of/Cargo.toml || exit; done

bench: ## the criterion benches beside each crate
	@cargo bench --locked --workspace

kill: ## kills a writing process CYCLES times and checks what it had acknowledged
	@cargo run --locked --release -p kill -- run --cycles $(or $(CYCLES),1000) --seed $(or $(SEED),1)

dist: ## planck and planctl as they are shipped, linked whole: target/dist (takes several times as long as release)
	@cargo build --locked --profile dist -p planck -p planctl

fuzz: ## every fuzz target for SECONDS_EACH (60) seconds
	@scripts/fuzz $(or $(SECONDS_EACH),60)

sanitize: ## the tests of all unsafe code under AddressSanitizer (ARGS=CRATE.., needs nightly)
	@scripts/sanitize $(ARGS)

siege: ## attacks a running planck for some minutes; honest answers must stay right (ARGS="--frames N .." or "--guests")
	@cargo build --locked --release -q -p planck && cargo run --locked --release -q -p siege -- \
		--planck $${CARGO_TARGET_DIR:-target}/release/planck $(ARGS)

sim: ## the storage engine simulated: SEEDS=n runs, or one with SEED=s and its history
	@cargo run --locked --release -q -p simulation --bin sim -- $(or $(SEEDS),$(if $(SEED),1,10000)) $(or $(SEED),0)

interplay: ## engine, guests, watchers and jobs simulated: SEEDS=n runs, or one with SEED=s and its history
	@cargo run --locked --release -q -p interplay -- $(or $(SEEDS),$(if $(SEED),1,2000)) $(or $(SEED),0)

peers: ## storage, queries and the wire beside their peers (ARGS="storage --keys N", "query --docs N", "wire --asks N")
	@scripts/peers $(ARGS)

bench-edge: ## the HTTP edge beside hyper, axum, Express and Deno (ARGS="--seconds N --engines planck,hyper")
	@scripts/peers edge $(ARGS)

bench-transfer: ## money between two of 100,000 accounts, beside SQLite, PostgreSQL and Redis (ARGS="--seconds N --engines ..")
	@scripts/peers transfer $(ARGS)

conformance: ## asks the HTTP listener with curl, nghttp, h2load and wrk
	@scripts/conformance

clean-demo: ## removes the demo's data, keeps what was built
	@rm -rf target/demo

# The one way in: `make` lists what there is. ARGS="..." is passed on to the program that runs in the cluster.
ARGS ?=
.DEFAULT_GOAL := help
.PHONY: help demo test bench cluster-build cluster-up cluster-down fmt lint generate

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: ## see a good and a bad release on a real cluster, from nothing
	@tests/cluster/run demo $(ARGS)

test: ## format, lints, all tests, and the tests on a real cluster
	@tests/cluster/run test $(ARGS)

bench: ## measure the goals of the design on a real cluster
	@tests/cluster/run bench $(ARGS)

cluster-build: ## build the binaries of the test cluster
	@tests/cluster/cluster build

cluster-up: ## start the test cluster and leave it running
	@tests/cluster/cluster up

cluster-down: ## remove the test cluster
	@tests/cluster/cluster down

fmt: ## format the code
	cargo fmt --all

lint: ## check the format and the lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

generate: ## write what is derived from the types: the CRDs of the chart, the reference of the kinds
	cargo build --quiet -p sluice
	cargo run --quiet -p sluice -- crds >charts/sluice/files/crds.yaml.new
	mv charts/sluice/files/crds.yaml.new charts/sluice/files/crds.yaml
	mkdir -p docs/reference
	cargo run --quiet -p sluice -- reference >docs/reference/kinds.md.new
	mv docs/reference/kinds.md.new docs/reference/kinds.md

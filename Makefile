# Every verb works in a clean clone. `make help` lists them.

FUZZTIME    ?= 30s
BENCHTIME   ?= 1s
TORTURETIME ?= 10m
GO          ?= go
TOOLS       := $(CURDIR)/bin

.PHONY: help demo test race torture matrix fuzz lint mutants bench setup

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## crash a money transfer between two SQLite databases, and recover it; needs no server
	@examples/transfer/demo.sh

test: ## everything, on real servers (installs Docker on Debian); XA_REQUIRE=all: fail where a server is missing
	@scripts/test.sh

race: ## the same under the race detector
	@scripts/test.sh -race

torture: setup ## kill, stop and cut off everything at random for TORTURETIME (10m), beside a checker; integration/cmd/torture
	@$(GO) build -o $(TOOLS)/ ./cmd/xa-recover
	@$(GO) -C integration build -o $(TOOLS)/ ./cmd/torture
	@$(TOOLS)/torture -engines postgres:15,postgres:18,mysql:9.7,mariadb:10.11,mariadb:11.8,sqlite -duration $(TORTURETIME) -json $(TOOLS)/torture.json

fuzz: ## every fuzz target, for FUZZTIME (30s) each
	@scripts/fuzz.sh $(FUZZTIME)

lint: $(TOOLS)/staticcheck ## gofmt, go vet, staticcheck
	@scripts/lint.sh

mutants: ## break each safety rule of the protocol in a copy, and see the tests catch it
	@scripts/mutants.sh

matrix: ## the whole crash matrix, of which make test runs a part
	@XA_MATRIX=full $(GO) -C integration test -count=1 -timeout 120m -v -run WhateverIsKilledWherever .

bench: $(TOOLS)/benchstat ## every benchmark, for BENCHTIME (1s) each; comparable with bin/benchstat
	@scripts/bench.sh $(BENCHTIME)

setup: ## only get the servers ready that the tests need
	@integration/setup.sh

$(TOOLS)/%: integration/tools/go.mod integration/tools/go.sum
	@GOBIN=$(TOOLS) $(GO) -C integration/tools install tool
	@touch $@

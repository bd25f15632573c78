# `make` alone explains the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

GO       ?= go
CACHE    := .cache
BIN      := $(CACHE)/bin
TOOL     := $(GO) tool -modfile=tools/go.mod
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X main.version=$(VERSION)
# The race detector needs a C compiler; without one the tests run without it.
RACE     := $(shell command -v gcc >/dev/null 2>&1 || command -v clang >/dev/null 2>&1 && echo -race)
PKG      ?= ./...
TIMEOUT  ?= 10m
FUZZTIME ?= 30s
SEEDS    ?= 1
BENCH    ?= .
BENCHED  := ./balance/... ./routing/... ./affinity/... ./breaker/... ./proxy/...

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  PKG=./routing/... narrows test and cover, FUZZTIME=2m lengthens fuzz, BENCH=Pick narrows bench."

.PHONY: build
build: ## Build the static binary into bin/loadbalancer
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/loadbalancer ./cmd/loadbalancer

.PHONY: dist
dist: ## Build the release's binaries and their checksums into bin/dist
	@rm -rf bin/dist && mkdir -p bin/dist
	@set -e; for target in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64; do \
		export GOOS=$${target%/*} GOARCH=$${target#*/}; echo "loadbalancer-$(VERSION)-$$GOOS-$$GOARCH"; \
		CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' \
			-o "bin/dist/loadbalancer-$(VERSION)-$$GOOS-$$GOARCH" ./cmd/loadbalancer; \
	done
	@cd bin/dist && $$(command -v sha256sum || echo shasum -a 256) loadbalancer-* > checksums.txt

.PHONY: run dev
run: ## Start an embedded etcd, three demo backends and the balancer on :8080
	$(GO) run ./cmd/loadbalancer dev $(ARGS)
dev: run

.PHONY: test
test: servers engine ## Run all tests, with a Docker engine or without; this is the test command
	@[[ -n "$(RACE)" ]] || echo "C compiler: none: the tests run without the race detector"
	$(GO) test $(RACE) -timeout $(TIMEOUT) $(PKG)

.PHONY: check
check: ## Check format, vet, staticcheck, known vulnerabilities and the import arrows
	@files=$$(gofmt -l $$(find . -name '*.go' -not -path './.*')); \
		[[ -z "$$files" ]] || { echo "gofmt: not formatted (run gofmt -w):"; echo "$$files"; exit 1; }
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	@tools/vulncheck
	$(GO) test ./internal/archtest/...

.PHONY: integration
integration: servers engine ## Run the tests against etcd and Consul in containers, telling what they do
	$(GO) test $(RACE) -count=1 -v -timeout $(TIMEOUT) ./integration/...

.PHONY: chaos
chaos: servers ## Let random faults strike a fleet: SEEDS=20 runs, LBTEST_CHAOS=60s each, LBTEST_SEED=n repeats one (Linux, root)
	@set -eo pipefail; for i in $$(seq $(SEEDS)); do \
		$(GO) test -count=1 -run TestTablesEqualTheStoresAfterAnyFaults -v ./integration | grep -E '^ +random_test.go|^(---|ok|FAIL)'; \
	done

.PHONY: faults
faults: servers ## Have stores and backends fail in every way, LBTEST_OUTAGE=90s each, and print the table (Linux, root)
	LBTEST_OUTAGE=$${LBTEST_OUTAGE:-90s} $(GO) test -count=1 -timeout 30m -run 'Fault|Silent|Lost' -v ./integration

.PHONY: bench
bench: ## Run the benchmarks of the request's way (tools: make benchstat OLD=a NEW=b)
	@$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem $(BENCHED)

.PHONY: bench-peers
bench-peers: build ## Compare with HAProxy and nginx from the PATH: ARGS="--scenario small,tls --rounds 3" (Linux)
	@mkdir -p $(CACHE)
	$(GO) run ./bench/peers --balancer bin/loadbalancer --json $(CACHE)/peers.json --markdown $(CACHE)/peers.md $(ARGS)

.PHONY: bench-discovery
bench-discovery: servers ## Measure great catalogs in real stores: BENCH=Etcd narrows it (Linux, some minutes)
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchtime 1x -timeout 20m ./bench/discovery

.PHONY: pictures
pictures: ## Draw the pictures of docs/algorithms.md anew
	$(GO) run ./bench/pictures

.PHONY: pgo
pgo: ## Renew the profile that builds are optimised by, cmd/loadbalancer/default.pgo
	@mkdir -p $(CACHE)
	$(GO) test -run '^$$' -bench BenchmarkEngine -benchtime 2s -pgo off -cpuprofile $(CACHE)/engine.pgo -o $(CACHE)/engine.test ./proxy
	$(GO) tool pprof -proto -output cmd/loadbalancer/default.pgo $(CACHE)/engine.pgo

.PHONY: benchstat
benchstat: ## Compare two outputs of make bench: OLD=file NEW=file
	@$(TOOL) benchstat $(OLD) $(NEW)

.PHONY: fuzz
fuzz: ## Fuzz each target for FUZZTIME (30s)
	@set -e; grep -r --include='*_test.go' -oE '^func Fuzz[A-Za-z0-9_]*' . | sort | while IFS=: read -r file func; do \
		name=$${func#func }; echo "== $$(dirname $$file) $$name"; \
		$(GO) test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x "$$(dirname $$file)" </dev/null; \
	done

.PHONY: churn
churn: ## Have wrk ask for CHURN (60s) while backends come and go by etcdctl; a request that fails fails it
	LB_CHURN=$(or $(CHURN),60s) $(GO) test -count=1 -v -timeout 15m -run 'ComeAndGo' ./server

.PHONY: cover
cover: servers ## Run the tests and print the coverage by package
	@mkdir -p $(CACHE)
	$(GO) test -timeout $(TIMEOUT) -coverprofile $(CACHE)/cover.out -coverpkg ./... $(PKG)
	@$(GO) tool cover -func $(CACHE)/cover.out | tail -1
	@echo "details: go tool cover -html $(CACHE)/cover.out"

.PHONY: consul
consul: ## Build the Consul agent that tests run against into .cache/bin (minutes the first time)
	@integration/tools/build consul $(BIN)

.PHONY: docker
docker: ## Build the image loadbalancer:latest
	docker build --build-arg VERSION=$(VERSION) -t loadbalancer:latest .

.PHONY: clean
clean: ## Remove what was built here; Go's own caches stay
	rm -rf bin $(CACHE)

# The servers that tests run against, and a balancer whose clock they set. Tests skip what is missing, so a failure here
# fails nothing.
.PHONY: servers
servers:
	@integration/tools/build consul $(BIN) || \
		echo "!!!! Consul could not be built: without an older one the tests that need an agent are skipped"
	@[[ $$($(GO) env GOOS) != linux ]] || $(GO) run ./integration/programs/clocked

.PHONY: engine
engine:
	@$(GO) run ./integration/containers/engine

# xmppbench: `make` lists the targets. `make check` is exactly what CI runs.

GO            ?= go
LINT_VERSION  := v2.15.0
BIN           := bin
XMPPBENCH     := $(BIN)/xmppbench
FUZZTIME      ?= 10s
PACKAGES      := ./...

.DEFAULT_GOAL := help
.PHONY: help build k6 k6-types demo demo-all demo-federation test test-race interop interop-install k8s bench fuzz lint generate generate-check tidy-check check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/xmppbench
	$(GO) build -trimpath -o $(XMPPBENCH) ./cmd/xmppbench

k6: ## build bin/k6: k6 with the extensions
	$(GO) build -trimpath -o $(BIN)/k6 ./cmd/k6

k6-types: ## check index.d.ts and the examples with the TypeScript compiler (Node)
	cd xk6-xmpp/testdata/types && npm ci --no-audit --no-fund --silent && npx tsc --noEmit

demo: build ## five ways to fetch 10 000 contacts, on the simulator (under 2 minutes)
	$(XMPPBENCH) run roster-login --blocks 8

demo-all: build ## the demo with every roster variant
	$(XMPPBENCH) run roster-login --variants all

demo-federation: build ## 20 × 20 domains federate in four ways, on the simulator (2 minutes)
	$(XMPPBENCH) run federation

test: ## unit tests: no root, no server, no network beyond the module proxy
	$(GO) test $(PACKAGES)

test-race: ## unit tests under the race detector
	$(GO) test -race $(PACKAGES)

interop-install: ## install Prosody, ejabberd and the foreign clients where missing (Debian, root)
	./internal/interop/install.sh

interop: build interop-install ## tests against real Prosody and ejabberd, and foreign clients against serve
	$(GO) test -tags interop -count=1 -timeout 20m ./internal/interop/... ./internal/attrcert

k8s: ## the Kubernetes manifests of examples/k8s against the operator's schema
	$(GO) test -tags k8s ./internal/k8s

bench: ## benchmarks of the hot paths, the engine's own ratios and the link
	$(GO) test -run '^$$' -bench . -benchmem -timeout 30m $(PACKAGES)

fuzz: ## run each fuzz target for FUZZTIME (10s)
	@set -e; for pkg in $$($(GO) list $(PACKAGES)); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "fuzz $$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$pkg; \
	  done; done

$(BIN)/golangci-lint-$(LINT_VERSION):
	GOBIN=$(CURDIR)/$(BIN) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	mv $(BIN)/golangci-lint $@

lint: $(BIN)/golangci-lint-$(LINT_VERSION) ## formatting, vet and the import rules
	$(BIN)/golangci-lint-$(LINT_VERSION) run

generate: ## write generated files anew (docs/metrics.md, schemas)
	$(GO) generate $(PACKAGES)

generate-check: generate
	git diff --exit-code -- docs index.d.ts scenarios/schema results/schema

tidy-check:
	$(GO) mod tidy -diff

check: build k6 k6-types tidy-check generate-check lint interop-install test-race k8s interop ## everything CI runs
	$(MAKE) fuzz FUZZTIME=2s

clean: ## remove what was built and every run made here
	rm -rf $(BIN) runs xk6-xmpp/testdata/types/node_modules

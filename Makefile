# xmppbench: `make` lists the targets. `make check` is exactly what CI runs.

GO            ?= go
LINT_VERSION  := v2.15.0
BIN           := bin
XMPPBENCH     := $(BIN)/xmppbench
XK6_VERSION   := v1.4.6
GOSEC_VERSION := v2.29.0
FUZZTIME      ?= 10s
PACKAGES      := ./...

# For all commands alike: with another set of flags each package would be compiled once more.
export GOFLAGS += -trimpath

.DEFAULT_GOAL := help
.PHONY: help build k6 k6-types k6-lint demo demo-all demo-federation test test-race interop interop-install browser browser-install pictures k8s bench fuzz lint generate generate-check tidy-check check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/xmppbench
	$(GO) build -o $(XMPPBENCH) ./cmd/xmppbench

k6: ## build bin/k6: k6 with the extensions
	$(GO) build -o $(BIN)/k6 ./cmd/k6

k6-types: ## check index.d.ts and the examples with the TypeScript compiler (Node)
	cd xk6-xmpp/testdata/types && npm ci --no-audit --no-fund --silent && npx tsc --noEmit

$(BIN)/xk6-$(XK6_VERSION):
	mkdir -p $(BIN)/xk6-src
	cp -r "$$($(GO) mod download -json go.k6.io/xk6@$(XK6_VERSION) | sed -n 's/.*"Dir": "\(.*\)",/\1/p')/." $(BIN)/xk6-src
	chmod -R u+w $(BIN)/xk6-src
	cd $(BIN)/xk6-src && $(GO) build -o ../xk6-$(XK6_VERSION) .
	rm -rf $(BIN)/xk6-src

$(BIN)/gosec/$(GOSEC_VERSION)/gosec:
	GOBIN=$(CURDIR)/$(@D) $(GO) install github.com/securego/gosec/v2/cmd/gosec@$(GOSEC_VERSION)

# Not part of check: xk6 builds k6 anew with flags of its own, which takes minutes, and so does gosec. Left out of xk6's checks
# are vulnerability, whose database is elsewhere, and smoke, which is run and timed here because this xk6 calls k6 with a flag
# that version 2 does not have.
k6-lint: k6 $(BIN)/xk6-$(XK6_VERSION) $(BIN)/gosec/$(GOSEC_VERSION)/gosec ## what xk6 checks in an extension, on a clone with a tag
	begun=$$(date +%s%N) && K6_AUTO_EXTENSION_RESOLUTION=false $(BIN)/k6 run --quiet --no-usage-report examples/smoke.js && \
		echo "smoke.js took $$(( ($$(date +%s%N) - begun) / 1000000 )) ms"
	rm -rf $(BIN)/k6-lint && git clone --quiet . $(BIN)/k6-lint && git -C $(BIN)/k6-lint tag -f v0.0.0
	cd $(BIN)/k6-lint && ../xk6-$(XK6_VERSION) build --with github.com/xmppbench/xmppbench=. --output ../k6-by-xk6
	cd $(BIN)/k6-lint && PATH="$(CURDIR)/$(BIN)/gosec/$(GOSEC_VERSION):$$PATH" ../xk6-$(XK6_VERSION) lint --preset strict --disable vulnerability,smoke
	rm -rf $(BIN)/k6-lint

demo: build ## five ways to fetch 10 000 contacts, on the simulator (under 2 minutes)
	$(XMPPBENCH) run roster-login --blocks 8

demo-all: build ## the demo with every roster variant
	$(XMPPBENCH) run roster-login --variants all

demo-federation: build ## 20 × 20 domains federate in four ways, on the simulator (3 minutes)
	$(XMPPBENCH) run federation

test: ## unit tests: no root, no server, no network beyond the module proxy
	$(GO) test $(PACKAGES)

test-race: ## unit tests under the race detector
	$(GO) test -race -timeout 25m $(PACKAGES)

interop-install: ## install Prosody, ejabberd and the foreign clients where missing (Debian, root)
	./internal/interop/install.sh

interop: build k6 interop-install ## tests against real Prosody and ejabberd, scripts of k6 among them, and foreign clients against serve
	$(GO) test -tags interop -count=1 -timeout 30m -parallel 4 ./internal/interop/... ./internal/attrcert

browser-install: ## install Chromium where missing (Debian, root)
	./internal/browser/install.sh

browser: browser-install ## the HTML report in a real browser; screenshots in bin/screenshots
	$(GO) test -tags browser -count=1 -timeout 30m ./internal/browser

pictures: browser-install ## the pictures of the README, of the runs in results/reference
	$(GO) test -tags browser -count=1 -run '^TestPictures$$' ./internal/browser -pictures $(CURDIR)/results/reference

k8s: ## the Kubernetes manifests of examples/k8s against the operator's schema
	$(GO) test -tags k8s ./internal/k8s

bench: ## benchmarks of the hot paths, the engine's own ratios and the link
	$(GO) test -run '^$$' -bench . -benchmem -timeout 30m $(PACKAGES)

# Two at a time: programs are linked on one processor.
fuzz: ## run each fuzz target for FUZZTIME (10s; or 10000x, a count)
	grep -r '^func Fuzz' --include='*_test.go' . | sed 's|/[^/]*_test.go:func \(Fuzz[A-Za-z0-9]*\).*| \1|' | sort \
	  | xargs -P 2 -L 1 sh -c '$(GO) test -run "^$$" -fuzz "^$$1$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x -parallel 1 "$$0" >"$(BIN)/$$1.log" 2>&1; \
	    code=$$?; echo "fuzz $$0 $$1"; tail -n 40 "$(BIN)/$$1.log"; rm "$(BIN)/$$1.log"; exit $$code'

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

check: build k6 k6-types tidy-check generate-check lint interop-install test-race k8s interop browser ## everything CI runs
	$(MAKE) fuzz FUZZTIME=10000x # by count: when a time is up, Go before 1.27 may report "context deadline exceeded" (go.dev/issue/75804)

clean: ## remove what was built and every run made here
	rm -rf $(BIN) runs xk6-xmpp/testdata/types/node_modules

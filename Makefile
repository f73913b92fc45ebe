# Fairlead. `make` lists the targets.
SHELL := /bin/bash -o pipefail
.DEFAULT_GOAL := help
VERSION ?= $(shell git describe --always --dirty 2>/dev/null || echo devel)
GO_BUILD := CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
IMAGE ?= fairlead.dev/fairlead:dev
FUZZTIME ?= 10m

.PHONY: help
help: ## List the targets.
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Try it
.PHONY: demo demo-down
demo: ## Everything from nothing: a cluster on this machine, a mesh, traffic, a shift (KUBECONFIG=... uses yours).
	hack/demo up
demo-down: ## Take down what make demo brought up.
	hack/demo down

##@ Build
.PHONY: build operator proxy cli image generate
build: operator proxy cli ## Build bin/operator, bin/proxy and bin/fairlead.
operator: ## Build bin/operator alone.
	$(GO_BUILD) -o bin/operator ./cmd/operator
proxy: ## Build bin/proxy alone.
	$(GO_BUILD) -o bin/proxy ./cmd/proxy
cli: ## Build bin/fairlead, the command line (as kubectl-fairlead a plugin of kubectl).
	$(GO_BUILD) -o bin/fairlead ./cmd/fairlead
image: operator proxy ## Write the container image to bin/fairlead.tar without a container engine.
	go run ./hack/image -dockerfile Dockerfile -name $(IMAGE) -o bin/fairlead.tar
generate: ## Regenerate CRDs, deep copies and apply configurations.
	go tool controller-gen object crd:allowDangerousTypes=true applyconfiguration paths=./api/... output:crd:dir=config/crd/bases
	gofmt -w api/v1alpha1/applyconfiguration

##@ Check
.PHONY: test verify lint fuzz churn e2e e2e-full mutate scale bench bench-quick bench-hops bench-smoke experiment soak
test: ## Unit, API server and data plane tests with the race detector; generated files must be clean.
	hack/test
verify: ## The rules of the house: imports, sizes, formatting, generated files.
	go vet ./...
	go test -count=1 ./hack/verify/...
	hack/generated
lint: ## golangci-lint (built from its module into bin/ at the first run).
	hack/lint
fuzz: ## Run every fuzz target for FUZZTIME (10m) each.
	hack/fuzz $(FUZZTIME)
churn: ## 10,000 random events on a real API server while the way to it breaks at random; then no difference.
	KUBEBUILDER_ASSETS=$$(hack/cluster/build envtest) go test -count=1 -v -timeout 10m ./test/watch -run '^TestChurn$$' -churn 10000
e2e: ## End-to-end tests on a three-node cluster on this machine, in short form.
	hack/e2e quick
e2e-full: ## End-to-end tests with the full counts and times.
	hack/e2e full
mutate: ## Break the code in known ways, one at a time: a named test must fail for each.
	go run ./hack/mutate
scale: build ## 50 proxy processes on one API server: edit to served, start, memory.
	hack/scale
bench: proxy ## Side by side with HAProxy, nginx and ReverseProxy: CPU per request, p99, memory in every case: 25 minutes.
	hack/bench/run
bench-quick: proxy ## The main three cases in under two minutes, one line a case: CASE ours/haproxy=R ours/nginx=R.
	hack/bench/run -quick
bench-hops: proxy ## One hop and two, side by side: CPU and p99.
	hack/bench/run -cases hops,hops-open
bench-smoke: proxy ## A few seconds of make bench, to see that it works.
	hack/bench/run -cases keepalive-16,get-1m,post-100k,open-3000,hops -rounds 2 -duration 300ms
experiment: proxy ## One slow backend of eleven, each balancer beside HAProxy's and nginx's: success rates and percentiles: an hour.
	hack/experiment/run
soak: proxy ## Half an hour of traffic of many kinds with an edit a second: nothing fails, memory stays level.
	go run ./hack/soak

##@ The cluster on this machine
.PHONY: cluster-up cluster-down cluster-status
cluster-up: ## Bring up a three-node Kubernetes (NODES=1..3).
	hack/cluster/up $(NODES)
cluster-down: ## Take it down, leaving nothing behind.
	hack/cluster/down
cluster-status: ## Say what is up.
	@code=0; hack/cluster/status || code=$$?; (( code == 4 )) || exit $$code # that it is not up is an answer

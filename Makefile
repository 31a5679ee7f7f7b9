# `make` lists the targets. Everything that is needed is installed below .venv and the cache (REWRITER_CACHE).
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help venv check format unit argocd bench-gate bench-curves bench-decay bench-operator bench-rollout bench-sampler bench-sync bench-trainer test ml integration e2e faults demo crds docs cluster-up cluster-down images clean

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed-$(shell sha256sum pyproject.toml | cut -c1-16)
CODE := operator trainer_image sampler_image e2e tests

help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(STAMP) ## the Python environment of the operator, the tests and the tools
$(STAMP): pyproject.toml
	@test -x $(PY) || python3 -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --editable '.[dev]'
	@rm -f $(VENV)/.installed-* && touch $@

demo: venv ## the whole job on a real cluster: three acts (MODEL=tiny, DATA=a BEIR directory, ACTS=1,2,3,4)
	$(PY) -m e2e.demo --model $(or $(MODEL),smollm2) $(if $(DATA),--data $(DATA)) $(if $(ACTS),--acts $(ACTS))

test: venv ## every test that needs no GPU: unit, ml, integration, the sample of faults, e2e
	$(PY) -m e2e.tiers unit ml integration faults e2e

unit: venv ## pure tests, the first result in seconds
	@$(PY) -m e2e.tiers unit

ml: venv ## tests with torch, vLLM and DeepSpeed, inside the images
	$(PY) -m e2e.tiers ml

integration: venv ## tests against a real API server
	$(PY) -m e2e.tiers integration

e2e: venv ## the demo's acts with the tiny model, asserted
	$(PY) -m e2e.tiers e2e

argocd: venv ## releases in Git under the real Argo CD (built once, minutes): every word that it said, as a table
	@$(PY) -m e2e.tiers argocd

bench-curves: venv ## samples once, once per phase, before every step (DATA=a BEIR directory): build/bench/curves.json
	@$(PY) -m e2e.bench.curves $(if $(DATA),--data $(DATA))

faults: venv ## every crash point and fault between operator and API server, as a table (WORKLOAD=promote, SHARD=2/8)
	$(PY) -m tests.faults $(if $(WORKLOAD),--workload $(WORKLOAD)) $(if $(SHARD),--shard $(SHARD))

bench-gate: venv ## hacks that are really learnt, and the gate beside simpler rules: build/bench/gate.json, half an hour
	@$(PY) -m e2e.bench.trained
	@$(PY) -m e2e.bench.gate

bench-decay: venv ## the alarm of slow decay, stationary years and decays: build/bench/drift.json, minutes
	@$(PY) -m e2e.bench.drift

bench-trainer: venv ## the trainer beside TRL's on SmolLM2-135M: build/bench/trainer.json, a quarter of an hour
	@$(PY) -m e2e.bench.trainer

bench-sync: venv ## publishing and reloading a weight set beside plain copies (TINY=1): build/bench/sync.json, minutes
	@$(PY) -m e2e.bench.sync $(if $(TINY),--tiny)

bench-sampler: venv ## the sampler's drawing beside vLLM's own (TINY=1): build/bench/sampler.json, minutes
	@$(PY) -m e2e.bench.sampler $(if $(TINY),--tiny)

bench-rollout: venv ## rollouts, drawn and then played on the cluster (PART=drawn, dataplane or peer): build/bench/rollout.json
	@$(PY) -m e2e.bench.rollout $(if $(PART),--part $(PART))

bench-operator: venv ## the operator at scale on a real API server: build/bench/operator.json
	@$(PY) -m e2e.bench.scale

check: venv ## ruff, mypy --strict, import contracts, generated files
	$(VENV)/bin/ruff format --check $(CODE)
	$(VENV)/bin/ruff check $(CODE)
	$(VENV)/bin/mypy operator/rewriter_contract operator/rewriter_operator trainer_image/rewriter_trainer \
		sampler_image/rewriter_sampler e2e
	$(VENV)/bin/lint-imports --no-cache
	@$(MAKE) --no-print-directory crds docs
	@git diff --exit-code --stat crds docs/architecture.md \
		|| { echo "generated files are not what the code says: commit the output of 'make crds docs'"; exit 1; }

format: venv ## let ruff format and fix
	$(VENV)/bin/ruff check --fix --quiet $(CODE); $(VENV)/bin/ruff format --quiet $(CODE)

crds: venv ## generate crds/ from the pydantic models
	@$(PY) -m rewriter_operator.api.crd crds

docs: venv ## draw the state diagram of docs/architecture.md from the table
	@$(PY) -m e2e.draw_states

images: venv ## build the container images (VARIANT=cpu or cuda)
	$(PY) -m e2e.cluster.images build --variant $(or $(VARIANT),cpu)

cluster-up: venv ## a real Kubernetes on this machine (CLUSTER=local, kind or existing)
	$(PY) -m e2e.cluster up

cluster-down: venv ## take every local cluster down, without a trace
	$(PY) -m e2e.cluster down --all

clean: ## remove what builds leave in the checkout (not the cache)
	rm -rf build $(VENV)

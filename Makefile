.PHONY: demo test lint bench mutations fuzz soak clean

demo: ## the main job on this machine: cluster, app, gate, load, a swap there and back, the report
	scripts/demo

test: ## every test, on real servers of both kinds
	scripts/test

lint: ## formatting, clippy, documentation, dependency policy
	scripts/lint

bench: ## the benchmarks; their tables go to docs/PERFORMANCE.md
	scripts/bench

mutations: ## the hold core broken on purpose, once for each way: a test must fail each time (docs/PROOF.md)
	scripts/mutations

fuzz: ## bytes from outside, ten minutes for each target; needs a nightly compiler
	scripts/fuzz

soak: ## five minutes of clients that give up while their app is held
	cargo run --release -p lab -- soak

clean: ## everything a build, a test or the demo left here
	rm -rf target .lab

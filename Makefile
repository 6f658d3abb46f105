# Everything is in scripts/; this file gives it names.

.PHONY: help demo run test fuzz bench compare cost fmt clean

help:
	@echo "make demo            build, start and publish the bundled clip; says where to watch"
	@echo "make run             build and start the server alone (ARGS=\"--auth open\" for flags)"
	@echo "make test            set up what is missing and run every check"
	@echo "make fuzz SECONDS=n  run each fuzz target for n seconds (30)"
	@echo "make bench           criterion benches of every hot path (ARGS=\"encode\" for some)"
	@echo "make compare         weir and ffmpeg side by side: CPU, memory, rates, VMAF (CLIPS=\"bbb720\" RUNS=1 for a short one)"
	@echo "make cost            cores and memory per stream, for 1, 2 and 4 streams at once"
	@echo "make fmt             format all sources"
	@echo "make clean           remove what was built"

demo:
	@scripts/demo.sh

run:
	@scripts/setup.sh build
	@scripts/npm.sh server/web
	@cargo run --release --locked --package weir-server -- serve $(ARGS)

test:
	@scripts/test.sh

fuzz:
	@scripts/setup.sh build
	@scripts/fuzz.sh $(or $(SECONDS),30)

bench:
	@scripts/setup.sh build compare
	@cargo bench --locked --package weir-benches -- $(ARGS)

# CLIPS, RUNS and the rest of what the script reads come along: make hands on to
# its commands what was set on its own command line.
compare:
	@scripts/compare.sh $(ARGS)

cost:
	@scripts/compare.sh cost

fmt:
	@cargo fmt --all
	@cargo fmt --manifest-path fuzz/Cargo.toml

clean:
	@cargo clean
	@rm -rf server/web/node_modules tests/browser/node_modules

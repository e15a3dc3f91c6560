# Two commands do everything on a fresh Debian 12 machine with Swift 6.3: `make demo` and `make test`.
# Each installs what it needs first (Tests/Support/setup prints the apt line) and touches no system service.

SWIFT ?= swift
CONFIG ?= debug
BUILD := $(SWIFT) build -c $(CONFIG)
VENV := .venv
BOARD := .build/board

.PHONY: agent demo test test-fast lint format bench soak sim docs fuzz claims setup setup-lint build venv tools

demo: setup tools
	$(BUILD) --product cloud-hub
	$(BUILD) --product edge-agent
	python3 Deploy/dev/demo.py --programs "$$($(BUILD) --show-bin-path)" $(if $(ONCE),--once)

# The whole suite: unit and golden tests, the black-box tests on real parts, what we claim of the protocols, a minute of
# fuzzing.
test: setup tools venv
	$(BUILD) --build-tests
	Tests/Support/run-suites "$$($(BUILD) --show-bin-path)"
	PROGRAMS="$$($(BUILD) --show-bin-path)" $(VENV)/bin/python -m pytest -q -p no:cacheprovider --durations=10 Tests/Conformance Tests/EndToEnd Tests/Compatibility
	Tests/Fuzz/run.sh 60

# The subset for working: every Swift suite but the one that runs whole gateways; no venv and no browser.
test-fast: setup tools
	$(BUILD) --build-tests
	Tests/Support/run-suites "$$($(BUILD) --show-bin-path)" '^([B-Z]|AgentConfig)'

lint: setup-lint
	$(SWIFT) format lint --strict --recursive --parallel Package.swift Protocol EdgeAgent CloudHub Tests
	for script in setup tools venv docs run-suites; do sh -n Tests/Support/$$script || exit 1; done
	python3 -m compileall -q -f Deploy/dev Tests
	find Deploy/dev Tests -name __pycache__ -prune -exec rm -r {} +

format:
	$(SWIFT) format --in-place --recursive --parallel Package.swift Protocol EdgeAgent CloudHub Tests

# The gateway's program as it goes to a board, $(BOARD)/release/edge-agent: Swift's libraries inside, no symbols, nothing
# that only a debugger or a plug-in could want.
agent: setup
	$(SWIFT) build -c release --product edge-agent --scratch-path $(BOARD) --static-swift-stdlib \
		-Xswiftc -use-ld=lld -Xlinker --no-export-dynamic -Xlinker -s

# Figures and ratios against a peer in the same run; never fails for being slow.
bench: setup tools agent
	Tests/Support/setup bench
	$(SWIFT) build -c release --product cloud-hub
	$(SWIFT) build -c release --product hub-bench
	$(SWIFT) build -c release --product outbox-bench
	$(SWIFT) build -c release --product rule-bench
	$(SWIFT) build -c release --product signal-bench
	python3 Tests/Benchmarks/bench.py --programs "$$($(SWIFT) build -c release --show-bin-path)" --agent $(BOARD)/release/edge-agent

# Hour-long loops: the kill tests with many more rounds, the fuzzer for an hour.
soak: setup tools venv
	$(BUILD) --build-tests
	PROGRAMS="$$($(BUILD) --show-bin-path)" KILLS=1000 $(VENV)/bin/python -m pytest -q -x -p no:cacheprovider Tests/EndToEnd -k "Kill or kill"
	Tests/Fuzz/run.sh 3600

# Whole installations on a clock, disks and a network that one number decides: make sim SEEDS=2000; what happened with
# one of them: make sim SEED=1234. Hashing without chance, so that a seed is the same run in every process.
sim: setup
	$(BUILD) --build-tests
	SWIFT_DETERMINISTIC_HASHING=1 SEEDS=$(or $(SEEDS),2000) FROM=$(or $(FROM),1) $(if $(SEED),SEED=$(SEED)) $(if $(BUG),BUG=$(BUG)) \
		"$$($(BUILD) --show-bin-path)/fieldlinePackageTests.xctest" --testing-library swift-testing --filter '^SimulationTests\.'

fuzz: setup
	Tests/Fuzz/run.sh $(or $(SECONDS),60)

# What the device side claims, and the public text that says so.
claims: venv
	@$(VENV)/bin/python -m pytest -q -p no:cacheprovider --claims Tests/Conformance Tests/EndToEnd Tests/Compatibility \
		|| [ $$? -eq 5 ]  # no test ran, which is what was asked for

# One DocC archive a room below docs-out/.
docs: setup
	Tests/Support/docs

setup:
	Tests/Support/setup build

setup-lint:
	Tests/Support/setup lint

# Peers that only tests and the demo start: unpacked below .build/tools, never installed as a service.
tools: setup
	Tests/Support/tools

build: setup
	$(BUILD)

venv: setup
	Tests/Support/setup venv
	Tests/Support/setup browser
	Tests/Support/venv $(VENV)

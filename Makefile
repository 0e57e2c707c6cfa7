# Every target sets up what it needs on a machine with Python 3.11, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# Import paths of tools that run outside the editable install.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo serve release test test-fast test-clouds check format clean sbom audit
.DEFAULT_GOAL := help

help:  ## List the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

# What runs Kintsugi, and what tests it on top: the demo and the service need no test tools.
RUNS := $(VENV)/installed-to-run
PIP = $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
$(RUNS): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): about 6 GB, some minutes; each package is named as it comes"
	$(PIP) -e '.[demo,heic]'
	touch $@

$(STAMP): $(RUNS)
	$(PIP) -e '.[dev]'
	touch $@

install: $(STAMP)  ## Install everything into .venv, test tools too.

demo: $(RUNS)  ## The whole path on this machine, photographs to a filled hole over HTTP.
	$(BIN)/kintsugi demo

serve: $(RUNS)  ## Serve the bundled release on 127.0.0.1:8000 until Ctrl-C.
	$(BIN)/kintsugi serve

# make release PHOTOS=s3://photos TEACHER=torchvision OUT=s3://releases/mine FLAVOUR=recommended
OUT ?= ~/.kintsugi/release
FLAVOUR ?= release
DEVICE ?= cpu
# Otherwise as stage 2 was trained.
MATCHING ?= --pixels $(if $(filter release,$(FLAVOUR)),--keys plain --colour 0 --guard 0 --repeats 0)
# The bundled release's Feature2Image was trained in two parts, the second with pixels.
LAST = $(if $(filter release,$(FLAVOUR)),release-pixels-stage2,$(FLAVOUR)-stage2)
ENCODER_STEPS ?= 2400
# In addition to what the configurations say, such as TRAIN="--set workers.use_gpu=true --without-ray".
TRAIN ?= --without-ray
NAMES = --set storage=$(OUT) --set data.shards=$(OUT)/shards \
	--set encoder=$(OUT)/encoder/encoder.safetensors
release: $(RUNS)  ## Train a release from PHOTOS and a TEACHER's features; each step resumes.
	@test -n "$(PHOTOS)" -a -n "$(TEACHER)" || { echo "name both: make release PHOTOS=URI TEACHER=FILE" >&2; exit 2; }
	$(BIN)/kintsugi shards --input $(PHOTOS) --output $(OUT)/shards --held-out 0.1 --verify
	$(BIN)/kintsugi train encoder --photos $(PHOTOS) --teacher $(TEACHER) \
		--output $(OUT)/encoder --steps $(ENCODER_STEPS) --device $(DEVICE)
	$(BIN)/kintsugi train initial-fill --config jobs/configs/$(FLAVOUR)-initial-fill.toml $(NAMES) $(TRAIN)
	$(BIN)/kintsugi train stage1 --config jobs/configs/$(FLAVOUR)-stage1.toml $(NAMES) $(TRAIN)
	$(BIN)/kintsugi train stage2 --config jobs/configs/$(FLAVOUR)-stage2.toml $(NAMES) \
		--set translate.stage1=$(OUT)/$(FLAVOUR)-stage1 $(TRAIN)
	test $(LAST) = $(FLAVOUR)-stage2 || \
		$(BIN)/kintsugi train stage2 --config jobs/configs/$(LAST).toml $(NAMES) \
		--set translate.stage1=$(OUT)/$(FLAVOUR)-stage1 --set init_from=$(OUT)/$(FLAVOUR)-stage2 $(TRAIN)
	$(BIN)/kintsugi publish --config jobs/configs/$(LAST).toml \
		--stage1 $(OUT)/$(FLAVOUR)-stage1 --stage2 $(OUT)/$(LAST) --initial-fill $(OUT)/$(FLAVOUR)-initial-fill \
		--output $(OUT)/small $(MATCHING) --half
	$(BIN)/kintsugi evaluate --photos $(PHOTOS) --held-out 0.1 --release $(OUT)/small \
		--encoder $(TEACHER) --masks center-96-256,center-224-512,medium-256,thick-256 \
		--methods ours,coarse,smooth,telea,ns,biharmonic,patchmatch --output $(OUT)/evaluation

# `make check test` runs the tests of the manifests once: they are among all tests.
check: $(STAMP) $(if $(filter test,$(MAKECMDGOALS)),,check-k8s) docs  ## Format, lint, types, architecture, manifests, documents.
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	PYTHONPATH=platform $(BIN)/lint-imports

# `docs` is a folder as well. The theme's notice of its own successor is no finding of ours.
.PHONY: docs
docs: $(STAMP)  ## Build the documents into site/, from docs/ and the code.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Tests of the alert rules fail without it.
.PHONY: promtool
promtool:
	@command -v promtool >/dev/null || { apt-get update -qq && apt-get install --yes --no-install-recommends prometheus; } \
		|| echo "No promtool, and it cannot be installed here: install Prometheus"

test: $(STAMP) promtool  ## All tests but those that take minutes, inject faults or need a browser.
	$(BIN)/pytest -m "(slow or edge or not slow) and not ray"
	$(BIN)/pytest -m ray

test-fast: $(STAMP) promtool  ## Tests that start no cluster.
	$(BIN)/pytest -m "not ray"

test-slow: $(STAMP)  ## Tests that take seconds or minutes each.
	$(BIN)/pytest -m slow

# Not vendored: a checker of accessibility, half a megabyte. Without npm its tests are skipped.
AXE := $(VENV)/axe-core-4.14.1/package/axe.min.js
$(AXE): | $(STAMP)
	mkdir -p $(VENV)/axe-core-4.14.1
	-cd $(VENV)/axe-core-4.14.1 && npm pack --silent axe-core@4.14.1 && tar -xzf *.tgz package/axe.min.js

test-browser: $(STAMP) $(AXE)  ## The page, in Debian's Chromium.
	@command -v chromium >/dev/null || apt-get install --yes --no-install-recommends chromium \
		|| echo "No chromium, and it cannot be installed here: its tests are skipped"
	AXE_FOLDER=$(CURDIR)/$(dir $(AXE)) $(BIN)/pytest -m browser

# Not vendored: Azure's emulator. Without npm its tests are skipped.
AZURITE := $(VENV)/azurite-3.37.0
$(AZURITE)/package.json: | $(STAMP)
	mkdir -p $(AZURITE)
	-cd $(AZURITE) && npm install --silent --no-audit --no-fund azurite@3.37.0

test-clouds: $(STAMP) $(AZURITE)/package.json  ## Object stores of Google and Azure, by servers that speak as they do.
	AZURITE_FOLDER=$(CURDIR)/$(AZURITE)/node_modules/.bin $(BIN)/pytest -m "(slow or not slow) and not ray" \
		tests/kintsugi/storage/test_clouds.py tests/kintsugi/data/sources/test_listing.py

# Faults of bytes, of storage and of clients that need no cluster; `make test` runs them as well.
FAULTS_ALONE := tests/deploy/test_edge.py $(addprefix tests/kintsugi/,runs/test_checkpoints.py \
	data/test_shard_manifest.py data/test_shard_verify.py storage/test_scratch.py \
	storage/test_storage_failures.py storage/test_storage_faults.py)
test-faults: $(STAMP)  ## Kill workers, nodes, storage and the service's processes; see all recover; three times.
	for round in 1 2 3; do \
		$(BIN)/pytest -m "(slow or edge or not slow) and not (faults or ray)" $(FAULTS_ALONE) && \
		$(BIN)/pytest -m faults || exit 1; done

test-endurance: $(STAMP)  ## Kill each node twenty times during 5,000 requests, and any process for ten minutes.
	KINTSUGI_FAULTS_KILLS=20 KINTSUGI_FAULTS_REQUESTS=5000 KINTSUGI_FAULTS_SECONDS=600 \
		$(BIN)/pytest -n 0 -s -m faults -k "killed and (node or meanwhile)" tests/faults/test_serving.py

test-abuse: $(STAMP)  ## Attack the service on loopback, each attack with its bounds.
	$(BIN)/pytest -n 0 -m abuse tests/abuse

check-k8s: $(STAMP) promtool  ## Image, manifests and edge: all that can be checked without a cluster.
	$(BIN)/pytest tests/k8s tests/deploy/test_dockerfile.py tests/deploy/test_edge.py -m "not ray"

# Programs of their own: they read the image's locks, and nothing of ours runs with what they need.
SUPPLY_CHAIN := $(VENV)/supply-chain
$(SUPPLY_CHAIN)/installed:
	$(PYTHON) -m venv $(SUPPLY_CHAIN)
	$(SUPPLY_CHAIN)/bin/python -m pip install --disable-pip-version-check cyclonedx-bom==7.5.0 pip-audit==2.10.1
	touch $@

sbom: $(SUPPLY_CHAIN)/installed  ## List what the image installs, with hashes: sbom.json (CycloneDX).
	cat deploy/locks/*.txt | $(SUPPLY_CHAIN)/bin/cyclonedx-py requirements --output-reproducible --of JSON -o sbom.json -

# Strict: where PyPI does not answer, that would be no finding otherwise.
audit: $(SUPPLY_CHAIN)/installed  ## Ask PyPI for known weaknesses of what the image installs.
	for lock in deploy/locks/*.txt; do \
		$(SUPPLY_CHAIN)/bin/pip-audit --strict --disable-pip --require-hashes -r $$lock || exit 1; done

format: $(STAMP)  ## Format and mend what can be mended.
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:  ## Remove what the demo and the documents' build wrote.
	rm -rf demo site sbom.json

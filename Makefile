# Targets for a fresh machine with make and Python 3.11 or newer; each does its own set-up.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PROTO_VENV := .venv-proto
# What tests/nightly/interop, tests/nightly/services, `make site` and `make release` run with beside $(VENV):
# requirements/<name>.txt.
INTEROP := sdk-1.25 sdk-1.36 sdk-1.44 peers threads greenlets pickles services rotel phoenix site \
  release tensorflow \
  $(EMITTERS)
EMITTERS := litellm frameworks
# One environment for each library whose spans tests/support/recorded holds, and one for those of npm.
RECORDERS := $(patsubst tests/support/recorded/requirements/%.txt,.cache/recorded/%/stamp, \
  $(wildcard tests/support/recorded/requirements/*.txt)) tests/support/recorded/recorders/node_modules/stamp
PROMTOOL := .cache/prometheus/usr/bin/promtool
ALERTMANAGER := .cache/prometheus/usr/bin/prometheus-alertmanager
# A ZooKeeper, of packages of Debian, for the tables of a ClickHouse cluster; it needs Java.
ZOOKEEPER := .cache/zookeeper/usr/share/java/zookeeper.jar
ZOOKEEPER_PACKAGES := libzookeeper-java libslf4j-java libnetty-java libdropwizard-metrics-java \
  libsnappy-java libcommons-cli-java
# A proxy, the package of Debian.
NGINX := .cache/nginx/usr/sbin/nginx
# Boots a systemd in a container, where root may: the package of Debian.
NSPAWN := .cache/systemd/usr/bin/systemd-nspawn
BOOTS := $(NSPAWN) --directory=/ --volatile=yes --register=no --keep-unit --quiet --pipe
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# What uv trusts are the certificates of the machine, as with pip.
export UV_SYSTEM_CERTS := 1
# Compiling is left to the first import, and hundreds of processes import what was installed.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: check-image wheels neighbours test-clickhouse test-neighbours house site release changelog help demo test test-rest test-all test-nightly test-integrations pictures sheet check check-proto check-deploy bench soak recorded docs proto released-proto requirements format clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/demo.stamp ## Serve, trace real models, show their records (ONCE=1 ends by itself)
	$(BIN)/python -m examples.demo $(if $(ONCE),--once)

check: $(VENV)/dev.stamp check-proto ## Format, lint, types, import contracts, proto
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(VENV)/dev.stamp ## Unit tests, and a smoke test of a real collector (about 3 minutes)
	@echo "make test: tests/unit, which start nothing, then $(SMOKE), which starts a collector"
	$(BIN)/python -m pytest $(PYTEST) --numprocesses 4 $(FORBID) tests/unit $(SMOKE) $(ALONE)

test-rest: $(VENV)/dev.stamp .venv-sdk-1.25/stamp tools ## What CI runs after `make check test`: stores, processes, Chromium
	$(BIN)/python -m pytest $(PYTEST) --numprocesses 4 --forbid-skips --deselect $(SMOKE) \
	  tests/store tests/process tests/browser $(ALONE)

test-all: test test-rest ## All tests of CI, with Node and Chromium

test-nightly: $(VENV)/dev.stamp ## One part of the nightly run (PART=2/8), or what each part holds (PART=list)
	$(BIN)/python -m tests.nightly $(PART)

test-clickhouse: $(VENV)/dev.stamp ## The tests of the store on a ClickHouse server or cluster of yours (STORE=clickhouse://…), as one table
	@$(BIN)/python -m tests.nightly.contract "$(STORE)"

test-neighbours: $(VENV)/dev.stamp neighbours ## Beside the real Jaeger, OpenTelemetry Collector, telemetrygen, Prometheus and Alertmanager (TABLE=1: write docs/jaeger.md)
	$(BIN)/python -m tests.nightly.neighbours
	$(if $(TABLE),OTEL_ML_WRITE_TABLE=1) $(BIN)/python -m pytest --forbid-skips tests/nightly/neighbours

neighbours: $(PROMTOOL) $(ALERTMANAGER) ## Bring them: the last two are packages of Debian, the others from a folder (NEIGHBOURS=dir), else built with Go
	@sh tests/nightly/neighbours/bring.sh "$(NEIGHBOURS)"

test-integrations: $(VENV)/dev.stamp .venv-integrations/stamp .venv-llm/stamp .venv-instrumentors/stamp .venv-tensorflow/stamp ## Beside MLflow, transformers, torch, jax and the like (5 GB)
	$(BIN)/python -m pytest --forbid-skips tests/nightly/integrations tests/nightly/origins

house: $(VENV)/dev.stamp ## Print what must be read to change one thing (beside a commit: BESIDE=3d291aa)
	$(BIN)/python -m tests.house $(BESIDE)

pictures: $(VENV)/dev.stamp $(if $(PAGES),,.venv-services/stamp .venv-integrations/stamp .venv-litellm/stamp) ## Take the pictures of the documentation again (some: PAGES="readme recipes llm fastapi")
	$(BIN)/python -m tests.support.browser.pictures $(PAGES)

sheet: $(VENV)/dev.stamp ## Take a picture of every page, both themes and widths, onto one sheet
	$(BIN)/python -m tests.support.browser.sheet

bench: $(VENV)/dev.stamp $(if $(PEERS),.venv-bench-peers/stamp) ## Print the numbers of docs/benchmarks.md as this machine makes them (ratios to a commit: BESIDE=3d291aa; peers' decorators beside ours: PEERS=1)
	$(BIN)/python -m tests.bench $(if $(PEERS),peers peer_values) $(if $(BESIDE),--beside $(BESIDE))

soak: $(VENV)/dev.stamp ## The long ones: 10 minutes without a collector, 15 minutes of a steady load, 100 kills, a million broken requests, 50 kills of an experiment, 1,000 samples of each interval
	$(BIN)/python -m tests.bench.soak
	OTEL_ML_TEST_REQUESTS=200 $(BIN)/python -m pytest tests/process/otel_ml_collector/api/test_any_request.py
	OTEL_ML_TEST_KILLS=50 $(BIN)/python -m pytest -s tests/nightly/end_to_end/test_resume.py -k any_moment
	OTEL_ML_TEST_SIMULATIONS=1000 $(BIN)/python -m pytest -s tests/unit/otel_ml/statistics/test_coverage.py

check-deploy: $(VENV)/deploy.stamp $(PROMTOOL) $(ZOOKEEPER) $(NGINX) $(NSPAWN) tools tests/nightly/deploy/grafana/node_modules/stamp ## Validate deploy/ with real tools (Debian, Ubuntu; Node.js)
	@command -v systemd-analyze >/dev/null || { \
	  echo "make check-deploy needs Debian or Ubuntu with systemd"; exit 1; }
	@command -v java >/dev/null || { \
	  echo "Missing: sudo apt-get install -y default-jre-headless"; exit 1; }
	PATH="$(CURDIR)/$(dir $(PROMTOOL)):$$PATH" $(BIN)/python -m pytest --forbid-skips \
	  -m "not image and not booted" tests/nightly/deploy
	@if $(BOOTS) /bin/true 2>/dev/null; then \
	  $(BIN)/python -m pytest --forbid-skips -m booted tests/nightly/deploy; \
	else echo "not run: the unit under a real systemd (needs root and systemd-nspawn)"; fi

check-image: $(VENV)/deploy.stamp wheels .cache/image/base.tar ## Build the image without a network or a daemon, and run it read-only (Debian, root; buildah, mmdebstrap)
	$(BIN)/python -m pytest -m image --forbid-skips tests/nightly/deploy

wheels: $(VENV)/dev.stamp ## Bring what the image installs: then it is built without a network (WHEELS="--python-version 3.12": for another Python)
	$(BIN)/python -m pip download --quiet --only-binary :all: --require-hashes \
	  --requirement deploy/requirements.txt --dest deploy/wheels $(WHEELS)

recorded: $(VENV)/dev.stamp $(RECORDERS) $(EMITTERS:%=.venv-%/stamp) ## Record again what real libraries export (one: RECORDED=langfuse)
	$(BIN)/python -m tests.support.recorded $(RECORDED)

docs: $(VENV)/dev.stamp ## Write docs/reference.md from the docstrings, docs/dialects.md from the mapping
	$(BIN)/python -m docs.make_reference
	$(BIN)/python -m docs.make_dialects

site: .venv-site/stamp ## Build docs/ as pages with a search; a link that leads nowhere ends it
	.venv-site/bin/python -m docs.site

proto: $(PROTO_VENV)/stamp ## Make the generated code again
	$(call generate,collector)

release: $(VENV)/dev.stamp .venv-release/stamp ## Build packages, check them, run the README from them (TAG=1: and tag)
	$(BIN)/python -m tests.release $(if $(TAG),--tag)

changelog: $(VENV)/dev.stamp ## Move changelog.d into CHANGELOG.md, below the version of pyproject.toml
	$(BIN)/python -m docs.make_changelog

# With each release: what stands in it is promised from then on, and check-proto holds to it.
released-proto: $(VENV)/dev.stamp
	$(BIN)/buf breaking proto --against proto/released.json
	$(BIN)/buf build proto --exclude-source-info --output proto/released.json

format: $(VENV)/dev.stamp ## Format and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

requirements: ## Compile the pinned requirements again (needs uv)
	$(COMPILE) pyproject.toml --extra demo requirements/build.in -o requirements/demo.txt
	$(COMPILE) pyproject.toml --extra demo requirements/build.in requirements/dev.in \
	  -c requirements/demo.txt -o requirements/dev.txt
	$(COMPILE) requirements/proto.in -o requirements/proto.txt
	$(COMPILE) requirements/deploy.in -c requirements/dev.txt -o requirements/deploy.txt
	$(COMPILE) pyproject.toml --extra collector requirements/build.in -c requirements/demo.txt \
	  -o deploy/requirements.txt
	for name in $(INTEROP) monitors; do \
	  $(COMPILE) requirements/$$name.in -o requirements/$$name.txt || exit 1; done
	for name in bench-peers evals; do \
	  $(COMPILE) requirements/$$name.in --override requirements/evals-left-out.txt \
	    -o requirements/$$name.txt || exit 1; done
	for name in integrations llm instrumentors; do \
	  $(COMPILE) requirements/$$name.in requirements/build.in -o requirements/$$name.txt || exit 1; done

clean: ## Remove what these targets made
	rm -rf $(VENV) $(PROTO_VENV) $(INTEROP:%=.venv-%) .venv-evals .venv-integrations .venv-llm
	rm -rf .venv-instrumentors
	rm -rf .venv-bench-peers .venv-monitors
	rm -rf .cache .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Where Jaeger, otelcol and telemetrygen are, as programs that xz packed, with their SHA256SUMS.
NEIGHBOURS ?= $(wildcard ../shared/neighbours)

# A few tests read /proc: elsewhere they are skipped.
FORBID := $(if $(filter Linux,$(shell uname)),--forbid-skips)
# One module with a real collector, for `make test`.
SMOKE := tests/process/test_smoke.py
# Each target has more workers than two cores could keep busy: its tests wait for other processes, at
# `make test` a little, at `make test-rest` half of their time. A worker runs a module whole, as many
# modules prepare for 20 s; they begin in the order of tests/support/order.py.
PYTEST := --dist loadfile --no-loadscope-reorder --durations 40 -o faulthandler_timeout=300 --cache-clear
# A few tests that failed while others ran beside them run again, alone: they may measure time.
ALONE := || { [ $$? = 1 ] && $(BIN)/python -m tests.alone; }
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
  --no-annotate --no-emit-index-url --no-emit-find-links --no-strip-extras
# $(call into,ENVIRONMENT) takes what pip install takes: uv does it where it is, in seconds, else pip.
UV := $(shell command -v uv)
ifdef UV
into = $(UV) pip install --quiet --python $(1)/bin/python
# chdb and chdb-core both bring chdb/__init__.py, and that of chdb has to be the last.
settle = $(call into,$(1)) --require-hashes --no-deps --reinstall-package chdb --requirement $(2)
environment = $(UV) venv --quiet --clear --python $(PYTHON) $(1)
else
into = $(BIN)/python -m pip --python $(1) install --quiet --no-compile
settle = true
environment = $(PYTHON) -m venv --clear --without-pip $(1)
endif
OURSELVES := --no-deps --no-build-isolation --editable .

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "The demo and the tests need Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: requirements/demo.txt pyproject.toml | $(BIN)/python
	$(call into,$(VENV)) --require-hashes --requirement requirements/demo.txt
	$(call settle,$(VENV),requirements/demo.txt)
	$(call into,$(VENV)) $(OURSELVES)
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt pyproject.toml | $(BIN)/python
	$(call into,$(VENV)) --require-hashes --requirement requirements/dev.txt
	$(call settle,$(VENV),requirements/dev.txt)
	$(call into,$(VENV)) $(OURSELVES)
	@touch $@ $(VENV)/demo.stamp

$(VENV)/deploy.stamp: requirements/deploy.txt $(VENV)/dev.stamp
	$(call into,$(VENV)) --require-hashes --requirement requirements/deploy.txt
	@touch $@

$(PROMTOOL):
	$(call unpack,prometheus)

$(ALERTMANAGER):
	$(call unpack,prometheus-alertmanager)

$(ZOOKEEPER):
	mkdir -p .cache/zookeeper
	cd .cache/zookeeper && apt-get download $(ZOOKEEPER_PACKAGES) && \
	  for package in *.deb; do dpkg-deb -x $$package .; done

$(NSPAWN):
	mkdir -p .cache/systemd
	cd .cache/systemd && apt-get download systemd-container && dpkg-deb -x systemd-container_*.deb .

$(NGINX):
	mkdir -p .cache/nginx
	cd .cache/nginx && apt-get download nginx && dpkg-deb -x nginx_*.deb .

# $(call unpack,PACKAGE) takes the programs out of a package of Debian; nothing is installed.
define unpack
@command -v dpkg-deb >/dev/null || { \
  echo "Prometheus and Alertmanager are packages of Debian: this needs Debian or Ubuntu"; exit 1; }
mkdir -p .cache/prometheus
cd .cache/prometheus && apt-get download $(1) && dpkg-deb -x $(1)_*.deb .
endef

# A stand-in for the base of the image, of packages of Debian: no registry is asked.
.cache/image/base.tar:
	@command -v mmdebstrap >/dev/null && command -v buildah >/dev/null || { \
	  echo "Missing: sudo apt-get install -y buildah crun mmdebstrap"; exit 1; }
	mkdir -p $(@D)
	mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates bookworm $@

$(PROTO_VENV)/stamp: requirements/proto.txt | $(BIN)/python
	$(call environment,$(PROTO_VENV))
	$(call into,$(PROTO_VENV)) --require-hashes --requirement requirements/proto.txt
	@touch $@

# Without uv they are filled with the first one's pip: a pip of their own would take longer than all
# else in them. The files are whole, and an older pip does not see that a pin with an extra
# (pandas[parquet]) is the pin of the package, too: nothing is left to resolve.
.venv-%/stamp: requirements/%.txt | $(BIN)/python
	$(call environment,.venv-$*)
	$(call into,.venv-$*) --require-hashes --no-deps --requirement $<
	@touch $@

# What the wheel of mlflow names and what is left out: requirements/evals.in.
.venv-evals/stamp: requirements/evals.txt | $(BIN)/python
	$(call environment,.venv-evals)
	$(call into,.venv-evals) --require-hashes --no-deps --requirement $<
	@touch $@

.cache/recorded/%/stamp: tests/support/recorded/requirements/%.txt | $(BIN)/python
	$(call environment,.cache/recorded/$*)
	$(call into,.cache/recorded/$*) --requirement $<
	@touch $@

tests/support/recorded/recorders/node_modules/stamp tests/nightly/deploy/grafana/node_modules/stamp \
tests/nightly/interop/agents/node_modules/stamp: \
  %/node_modules/stamp: %/package-lock.json
	cd $(<D) && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

# uv does not look where pip is told to find a CPU build of torch.
WITH_PIP := $(BIN)/python -m pip --python .venv-integrations install --quiet
# With the project itself: its entry points are what opentelemetry-instrument finds.
.venv-integrations/stamp: requirements/torch.txt requirements/integrations.txt pyproject.toml \
  | $(BIN)/python
	$(call environment,.venv-integrations)
	$(WITH_PIP) --require-hashes --no-deps --requirement requirements/torch.txt || { \
	  echo "pip finds no CPU build of torch (PIP_FIND_LINKS, PIP_EXTRA_INDEX_URL): taking the large one"; \
	  $(WITH_PIP) torch==2.13.0 accelerate==1.15.0 lightning==2.6.6 \
	    sentence-transformers==6.2.0; }
	$(call into,.venv-integrations) --require-hashes --requirement requirements/integrations.txt
	$(call into,.venv-integrations) $(OURSELVES)
	@touch $@

# With the project itself, as above.
.venv-llm/stamp .venv-instrumentors/stamp: .venv-%/stamp: requirements/%.txt pyproject.toml \
  | $(BIN)/python
	$(call environment,.venv-$*)
	$(call into,.venv-$*) --require-hashes --requirement $<
	$(call into,.venv-$*) $(OURSELVES)
	@touch $@

# The file is compiled under the name of the package that the generated code lives in.
define generate
$(PROTO_VENV)/bin/python -m grpc_tools.protoc \
  --proto_path=otel_ml_collector/_proto=proto/otel_ml_collector/v1 \
  --python_out=$(1) --pyi_out=$(1) --grpc_python_out=$(1) otel_ml_collector/_proto/records.proto
endef

check-proto: $(VENV)/dev.stamp $(PROTO_VENV)/stamp
	$(BIN)/buf lint proto
	$(BIN)/buf breaking proto --against proto/released.json
	@rm -rf $(PROTO_VENV)/generated && mkdir $(PROTO_VENV)/generated
	@$(call generate,$(PROTO_VENV)/generated)
	@for file in $(PROTO_VENV)/generated/otel_ml_collector/_proto/*; do \
	  cmp $$file collector/otel_ml_collector/_proto/$$(basename $$file) || \
	  { echo "The generated code is not that of records.proto: make proto"; exit 1; }; done

# Node and Chromium: installed where that is allowed, else the line to type.
.PHONY: tools
tools:
	@missing=; \
	command -v node >/dev/null && command -v npm >/dev/null || missing="$$missing nodejs npm"; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	test -z "$$missing" || { \
	  test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	  apt-get update -qq && apt-get install -y -qq $$missing >/dev/null; } || { \
	  echo "Missing:$$missing. Type: sudo apt-get install -y$$missing"; exit 1; }

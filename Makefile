# The front door. Bare `make` prints what there is; each target does its own set-up.
DRAWN := $(or $(STUDY),smol micro)# by `make figures`, where no study is named
STUDY ?= micro
JOBS ?= $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null \
	&& echo $$p && break; done)

# A process is one core wide; speed comes from processes side by side.
export OMP_NUM_THREADS = 1
export MKL_NUM_THREADS = 1
export OPENBLAS_NUM_THREADS = 1
export TOKENIZERS_PARALLELISM = false
export PYTHONUNBUFFERED = 1
export HF_HUB_DISABLE_TELEMETRY = 1

# A folder's name may have any letters; where the locale knows none but ASCII, a Python that was set
# up in one would not even start.
ifneq (UTF-8,$(shell locale charmap 2>/dev/null))
export LC_ALL = C.UTF-8
endif

# Where Python may leave no compiled module beside its source, every kernel would compile all that
# it imports: they lie in .cache then.
ifdef PYTHONDONTWRITEBYTECODE
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX = $(CURDIR)/.cache/compiled
endif

run = .venv/bin/python -m workflow $(if $(PROFILE),--profile "$(PROFILE)")
bench = PYTHONPATH=tests$(if $(BESIDE),:$(BESIDE)) .venv/bin/python -m bench
tests = .venv/bin/python -m pytest -n $(JOBS) --dist worksteal

.PHONY: help figures test new check report reproduce models notebooks book redact export import bench \
	bench-gpu bench-methods bench-scale bench-smol badges lint clean test-all test-slurm lock setup

help:  ## this list
	@echo "make TARGET [STUDY=$(STUDY)] [JOBS=$(JOBS)] [PROFILE=slurm]"
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{printf "%-17s%s\n", $$1, $$2}'

figures: setup  ## draw every figure; measure first what is missing or out of date
	@for study in $(DRAWN); do $(run) figures $$study --jobs $(JOBS) || exit; done

test: setup lint  ## lint and the tests, without the slow ones
	@$(tests) -m "not slow"

new: setup  ## a commented study file for your own adapter: make new STUDY=mine
	@$(run) new $(STUDY)

report: setup  ## one page: what did a fine-tune cost in safety? figures/STUDY/what_did_it_cost.html
	@$(run) report $(STUDY) --jobs $(JOBS) $(if $(RUNS),--runs "$(RUNS)") $(if $(ACCURACY),--accuracy "$(ACCURACY)")

reproduce: setup  ## measure everything again from nothing, in reproduced/, and compare
	@$(run) reproduce $(STUDY) --jobs $(JOBS)

models: setup  ## train the base models and the judges only
	@$(run) models $(STUDY) --jobs $(JOBS)

notebooks: setup  ## execute the notebooks and put the executed copies in notebooks/
	@$(run) notebooks $(STUDY) --jobs $(JOBS)

check: setup  ## is all that a study of real models names within reach, and what will it cost
	@$(run) check $(STUDY)

book: setup  ## everything as a static site, with the explorer: build/book/html
	@$(run) book $(STUDY)

redact: setup  ## tables without a word of text, in data/STUDY/redacted/
	@$(run) redact $(STUDY)

export: setup  ## the study as one file to keep: build/export/STUDY.zip
	@$(run) export $(STUDY)

import: setup  ## put a study in place from such a file: make import ARCHIVE=path
	$(if $(ARCHIVE),,$(error make import needs the file: make import ARCHIVE=path))
	@$(run) import "$(ARCHIVE)"

bench: setup  ## what share of the time goes into starting kernels and imports
	@$(bench).study $(STUDY) --jobs $(JOBS)

bench-gpu: setup  ## tokens and verdicts per second of a GPU, beside what its chip could do
	@$(bench).gpu

bench-methods: setup  ## what each mitigation costs in time and memory, against plain LoRA
	@$(bench).methods $(STUDY)

bench-smol: setup  ## training, replies, capability and verdicts of the study smol, beside other tools
	@$(bench).smol

bench-scale: setup  ## time and memory of the figures at the size of the paper's grid, generated
	@$(bench).scale

lint: setup  ## ruff, mypy and spelling
	@.venv/bin/ruff check --quiet && .venv/bin/ruff format --check --quiet && .venv/bin/mypy
	@.venv/bin/codespell --quiet-level 3

test-all: setup lint  ## lint and all tests (as root on Debian, on Slurm too, by apt)
	@$(tests) $(if $(filter 0,$(shell id -u)),$(if $(shell command -v apt-get),--slurm))

test-slurm: setup  ## a study on a Slurm of two nodes, made here for the purpose (Debian, as root)
	@.venv/bin/python -m pytest tests/test_slurm.py --slurm

clean:  ## remove caches, the site and what was reproduced; never a table, figure or archive
	rm -rf .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .snakemake reproduced build/book
	find lib tests -name __pycache__ -type d -prune -exec rm -rf {} +

badges: setup  ## links to Colab and Binder in the notebooks: make badges REPOSITORY=owner/name TAG=v0.1.0
	@$(run) badges "$(REPOSITORY)" $(if $(TAG),--tag "$(TAG)")

lock: setup  ## resolve requirements.in into requirements.lock and environment.yml
	@.venv/bin/python -m workflow.lock

setup:
	$(if $(PYTHON),,$(error make needs a Python from 3.11 to 3.14; found none. Name one: make PYTHON=path))
	@$(PYTHON) lib/workflow/install.py

# `make demo` and `make test` do all of their own set-up: a virtual environment, then the install.

PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo
# A soak draws its moments and its damage from the seed; give another one to see others.
SOAK_KILLS ?= 60
SOAK_IMAGES ?= 10000
SOAK_BUCKETS ?= s3,gs
SOAK_SEED ?= 0
SYNTHETIC := $(DEMO)/data/synthetic_coco

.PHONY: demo test soak lint docs clean

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

demo: $(VENV)/installed  ## Draws animals, builds shards, trains, predicts, reports.
	$(BIN)/python -m data_prep.build --source=synthetic --data_dir=$(DEMO)/data
	$(BIN)/python -m trainer.main --data_dir=$(DEMO)/data --workdir=$(DEMO)/run \
	  --flagfile=demo.flags
	$(BIN)/python -m trainer.predict --workdir=$(DEMO)/run --top_k=3 \
	  --plot=$(DEMO)/predictions.png $$(ls -d $(SYNTHETIC)/val2017/*.jpg | head -n 9)
	@echo
	@echo "Dataset: $(DEMO)/data"
	@echo "Picture: $(DEMO)/predictions.png"
	@echo "Report:  $(DEMO)/run/report.html"

test: $(VENV)/installed
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(PYTEST_FLAGS)

soak: $(VENV)/installed  ## The same promises under random kills and damage: half an hour.
	work=$$(mktemp -d) && trap 'rm -rf "$$work"' EXIT && \
	$(BIN)/python -m data_prep.build --source=synthetic --synthetic_images=50 --split_by=hash \
	  --label_policy=largest --data_dir="$$work/data" && \
	$(BIN)/python -m tests.soak.kills --data_dir="$$work/data" --kills=$(SOAK_KILLS) \
	  --replicas=1 --replicas=2 --replicas=4 --seed=$(SOAK_SEED) && \
	$(BIN)/python -m tests.soak.build_kills --kills=$(SOAK_KILLS) --seed=$(SOAK_SEED) && \
	$(BIN)/python -m tests.soak.bucket_kills --kills=$(SOAK_KILLS) --seed=$(SOAK_SEED) \
	  --schemes=$(SOAK_BUCKETS) && \
	$(BIN)/python -m tests.soak.damaged_images --count=$(SOAK_IMAGES) --seed=$(SOAK_SEED)

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/shellcheck .ci/run $(wildcard launch/templates/*.sh launch/templates/*.sbatch tests/support/stand_ins/*)
	$(BIN)/hadolint Dockerfile

docs: $(VENV)/installed  ## Builds docs/ as a site, and checks its links: site/index.html.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) $(DEMO) site

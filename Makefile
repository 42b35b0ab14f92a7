# `make demo` and `make test` do all of their own set-up: a virtual environment, then the install.

PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo
SYNTHETIC := $(DEMO)/data/synthetic_coco

.PHONY: demo test lint docs clean

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
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_FLAGS)

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

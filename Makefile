# Everything a user needs is `make report` and `make test`; both install what is missing into .venv first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed
# each module is compiled once, and not in every process that imports it, even where the environment asks for that
export PYTHONDONTWRITEBYTECODE :=

# every file that is downloaded must have one of the hashes in the lock file; pip fetches uv, of the same
# file, and uv, which is faster, the rest
LOCKED := $(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --require-hashes
PINNED := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate

.PHONY: help report released test thorough fuzz mutants lab bench onnx runtime remote calibration docs lint lock clean

help: ## Say what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.txt
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r $(VENV)/uv.txt
	$(LOCKED) -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(READY)

report: $(READY) ## Run every study on test cards, offline, into reports/demo
	$(BIN)/clipeval run --profile demo --out reports/demo

released: $(READY) ## Count what released weights answered, from the published answers in ORIGINALS=FOLDER
	$(BIN)/python -m clipeval.runs.released $(ORIGINALS)

test: $(READY) ## Run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not thorough"

mutants: $(READY) ## Plant bugs one at a time and see that the tests catch each (about an hour)
	$(BIN)/python tests/support/mutants.py --jobs 2

thorough: $(READY) ## Run the tests, the longest ones too
	CLIPEVAL_TEST_PHOTOS=5000 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

fuzz: $(READY) ## Try more than 10,000 generated inputs and 100 kills
	CLIPEVAL_FUZZ=12 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -s -n 0 tests/faults/test_fuzz.py tests/faults/test_fuzz_tables.py tests/faults/test_kills.py

lab: $(READY) ## Open the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks/00_explore.ipynb

onnx: runtime ## Test the image tower run by ONNX Runtime
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 0 tests/models/test_runtimes.py

runtime: $(READY)
	$(LOCKED) -r requirements-onnx.lock

bench: runtime ## Run all benchmarks (half an hour on two cores), into docs/figures.md
	$(LOCKED) -r requirements-bench.lock
	$(BIN)/python benchmarks/all_figures.py

# in a folder of its own, as what speaks to Amazon's storage needs an older python-dateutil than the lock has
remote: $(READY) ## Test addresses on a server that speaks S3, and Ray on a cluster of two processes
	$(LOCKED) --target $(VENV)-remote -r requirements-remote.lock
	PYTHONPATH=$(VENV)-remote OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 0 tests/embedding/test_addresses.py tests/runs/test_cluster.py

calibration: $(READY) ## Simulate every interval and test at the published sizes, into docs/calibration.md
	OMP_NUM_THREADS=1 $(BIN)/python tests/support/calibration.py

docs: $(READY) ## Build the documentation into site/
	$(LOCKED) -r requirements-docs.lock
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

lint: $(READY) ## Check style
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

lock: $(READY) ## Resolve the exact pins again, keeping those that still fit
	$(PINNED) --extra dev --extra build pyproject.toml -o requirements.lock
	$(PINNED) --group docs --constraint requirements.lock -o requirements-docs.lock
	awk '/^[a-z]/ {kept = !/^python-dateutil/} kept' requirements.lock > requirements-but-dateutil.tmp
	$(PINNED) --group remote --constraint requirements-but-dateutil.tmp -o requirements-remote.lock
	rm requirements-but-dateutil.tmp
	$(PINNED) --group onnx --constraint requirements.lock -o requirements-onnx.lock
	$(PINNED) --group bench --no-deps --constraint requirements.lock -o requirements-bench.lock

clean: ## Remove the environment and caches of this checkout
	rm -rf $(VENV) $(VENV)-remote .pytest_cache .ruff_cache build dist

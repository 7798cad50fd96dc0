# The daily work. `make` or `make help` lists the targets.

PYTHON ?= python3
VENV ?= .venv
OUTPUT ?= build/notebooks
# make run CONSTRAINTS= takes the newest versions instead of the tested ones.
CONSTRAINTS ?= constraints.txt
# make run TORCH=cpu takes torch's CPU build (Linux; macOS and Windows have it anyway).
TORCH ?=

PY := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)/python
READY := $(VENV)/.ready
# Longer than the longest cell takes on the slowest machine that we know of.
CELL_TIMEOUT := 1800
# Colab's Triton, which the GPU kernels have to compile with, too.
COLAB_TRITON := build/triton-3.6.0
# Colab's versions of small packages, with which two pages are run as Colab would.
COLAB_PACKAGES := build/colab-packages

.PHONY: help setup run test check site serve train train-recipe gpu colab-at-home lint format execute-notebooks relink install-mamba-ssm clean
.DEFAULT_GOAL := help

help:  ## list these targets
	@echo "make TARGET [PYTHON=python3.12] [TORCH=cpu] [CONSTRAINTS=] [REPO=owner/name] [REF=tag] [PAGES=04]"
	@sed -n 's/^\([a-z-]*\):.*## /\1:/p' Makefile | awk '{i = index($$0, ":"); printf "  %-18s %s\n", substr($$0, 1, i - 1), substr($$0, i + 1)}'

setup: $(READY)  ## make .venv with everything in it; the other targets do it by themselves

run: $(READY)  ## execute every notebook into build/notebooks, say how accurate the models are, make the site of them
	@$(PY) notebooks/run.py --output $(OUTPUT)
	@$(PY) website/build.py --notebooks $(OUTPUT)

test: $(READY) $(COLAB_TRITON) $(COLAB_PACKAGES)  ## ruff, unit tests, then nbval over every notebook
	@began=$$(date +%s); echo "Ruff, unit tests, then every notebook is executed and compared: 40 minutes on two cores." && \
	$(MAKE) --no-print-directory lint && \
	$(PY) -m pytest -n 2 && \
	$(PY) -m pytest -n 2 --dist loadfile --nbval --nbval-current-env --nbval-cell-timeout $(CELL_TIMEOUT) notebooks && \
	echo "All of it passed, in $$((($$(date +%s) - began) / 60)) minutes."

check: $(READY)  ## what to run before every commit, three minutes: ruff, structure, every kernel and layer, the site, links
	@began=$$(date +%s); \
	$(MAKE) --no-print-directory lint && \
	$(PY) -m pytest -q -n 2 -m "not slow" && \
	$(PY) -m colab.links --check && \
	$(PY) website/build.py --strict && \
	echo "Checked, in $$(($$(date +%s) - began)) s. make test runs everything."

site: $(READY)  ## make the site of the notebooks as they are committed, in build/site
	@$(PY) website/build.py --strict

serve: site  ## the same, and show them at http://localhost:8000
	@$(PY) -m http.server --bind localhost --directory build/site

train: $(READY)  ## train the published classifier again, into build/train: an hour or more; go on where it was stopped
	@$(PY) -m helpers.train smnist --test

train-recipe: $(READY)  ## the four trainings of page 2 again, into build/train: six minutes, on one core: two are no faster
	@for name in recipe recipe-frozen recipe-identity recipe-permuted; do \
	  OMP_NUM_THREADS=1 $(PY) -m helpers.train $$name --devices 1 --precision 32-true --test || exit; done

gpu: $(READY)  ## on a machine with a GPU, everything that needs one, in eight minutes: tests, kernels, pages, training
	@$(PY) -m colab.gpu

colab-at-home:  ## every page as a Colab CPU runtime runs it; needs Linux, root, 15 GB and an hour; PAGES="04 A1" for some
	@$(PYTHON) -m colab.at_home $(PAGES)

lint: $(READY)  ## ruff, over code and notebooks
	$(PY) -m ruff check && $(PY) -m ruff format --check || { echo "make format mends most of it."; exit 1; }

format: $(READY)  ## let ruff put code and notebooks in order
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

execute-notebooks: $(READY)  ## execute the notebooks in place, for the outputs that are committed
	@$(PY) notebooks/run.py --in-place

relink: $(READY)  ## let badges and Colab cells lead to this repository: REPO=owner/name REF=tag
	@$(PY) -m colab.links $(if $(REPO),--repository $(REPO)) $(if $(REF),--ref $(REF))

install-mamba-ssm: $(READY)  ## try again to install mamba-ssm
	@$(PY) colab/setup.py

clean:  ## remove what the targets made, the virtual environment included
	@# Whatever VENV says, only a virtual environment is removed.
	if [ -f $(VENV)/pyvenv.cfg ]; then rm -rf $(VENV); fi
	rm -rf build helpers/data/MNIST *.egg-info .pytest_cache .ruff_cache

$(COLAB_TRITON): | $(READY)
	@test "$$(uname -s)" != Linux || { echo "Fetching Colab's Triton, 190 MB, once: the GPU kernels are compiled with it." && \
	  mkdir -p $@.part && $(PY) -m pip install --quiet --disable-pip-version-check --no-deps --target $@.part triton==3.6.0 && mv $@.part $@; } \
	  || echo "It could not be fetched. Without it one test is skipped; with the variable CI set it fails."

$(COLAB_PACKAGES): colab/runtime.txt | $(READY)
	@test "$$(uname -s)" != Linux || { echo "Fetching Colab's versions of small packages, 80 MB, once: two pages are run with them." && \
	  rm -rf $@ $@.part && mkdir -p $@.part && $(PY) -m pip install --quiet --disable-pip-version-check --target $@.part \
	  -c colab/runtime.txt numpy matplotlib tqdm ipykernel && mv $@.part $@ && touch $@; } \
	  || echo "They could not be fetched. Without them two tests run with the versions that are here."

# The stamp comes last: an installation that was interrupted is taken up again, a finished one is never repeated.
$(READY): requirements.txt constraints.txt pyproject.toml colab/setup.py
	@command -v $(PYTHON) >/dev/null || \
	  { echo "There is no $(PYTHON) here. Install Python 3.10 to 3.14, or name one: make PYTHON=python3.12 run"; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 14) else \
	  "This needs Python 3.10 to 3.14; $(PYTHON) is %d.%d. Name another: make PYTHON=python3.12 run" % v)'
	@echo "Setting up $(VENV), once: some minutes, and 7 GB where torch comes with CUDA."
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --disable-pip-version-check $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) \
	  $(if $(TORCH),-r colab/torch-$(TORCH).txt) -r requirements.txt -e .
	@$(PY) colab/setup.py || true
	@touch $@
	@echo "Ready: $(VENV) has all that the tutorial needs."

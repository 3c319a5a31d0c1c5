# The commands of minijanus. Each installs what it needs into .venv first.

VENV   := .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.minijanus-installed
PRESET ?= tiny
ARGS   ?=

# Expanded only where .venv is made: the first Python 3.10+ that can make one.
FIND_PYTHON = for p in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python; \
	do "$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' \
	2>/dev/null && command -v "$$p" && break; done

.PHONY: help lab test train lint

help:
	@echo "make lab                     open the notebooks (ARGS=--no-browser without a screen)"
	@echo "make test                    run every test and every notebook"
	@echo "make train PRESET=tiny       train from raw data to stage III (PRESET=small: one GPU)"
	@echo "make lint                    check style and formatting only"
	@echo "make help                    show this list"

# Jupyter refuses root, who is the only user in many containers, unless told that it is meant.
AS_ROOT = $(shell test "$$(id -u)" = 0 && echo --allow-root)

lab: $(STAMP)
	$(PY) -m jupyterlab $(AS_ROOT) $(ARGS) notebooks/00_start_here.ipynb

# tiny, whatever device and checkpoints are there: the same test everywhere.
test: lint
	HF_HUB_OFFLINE=1 MINIJANUS_PRESET=tiny MINIJANUS_MODEL= $(PY) -m pytest --nbval-lax --nbval-current-env \
		--nbval-cell-timeout=60 tests notebooks

train: $(STAMP)
	$(PY) -m minijanus train --preset $(PRESET) $(ARGS)

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

# Done again whenever pyproject.toml changes; an existing .venv with a working pip is kept.
$(STAMP): pyproject.toml
	@$(PY) -m pip --version >/dev/null 2>&1 || { \
		python="$$($(FIND_PYTHON))"; \
		if [ -z "$$python" ]; then \
			echo "No Python 3.10 or newer that can make a virtual environment was found;" \
				"install one (Debian, Ubuntu: sudo apt install python3-venv)." >&2; \
			exit 1; \
		fi; \
		echo "making $(VENV) with $$python"; \
		"$$python" -m venv --clear $(VENV); \
	}
	@$(PY) -m pip install --editable '.[test]' || { \
		echo "The installation stopped; if the network or the disk (about 8 GB) was the" \
			"reason, put that right and type the same command again." >&2; \
		exit 1; \
	}
	@touch $@

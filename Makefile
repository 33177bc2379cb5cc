PYTHON ?= python
OUT ?= build/docs

.PHONY: docs pictures test-docs clean-docs

docs: ## the pages, with every gallery script run; needs `pip install -e ".[doc]"` and no network
	$(PYTHON) -m sphinx -W --keep-going -b html docs $(OUT)

pictures: ## the pictures that quickstart.md shows, from its own code
	$(PYTHON) docs/_ext/quickstart_pictures.py

test-docs: ## the code of all pages and docstrings
	$(PYTHON) -m pytest tests/test_docs.py laplace_nn

clean-docs:
	rm -rf $(OUT) docs/auto_gallery docs/api/examples docs/api/generated docs/sg_execution_times.rst

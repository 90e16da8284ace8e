"""Generator of documents from the code, and the checks that both say the same. `docs/generate.py` runs it."""

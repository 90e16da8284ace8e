"""Directories of the project that documents are made of."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
APP = ROOT / "app"

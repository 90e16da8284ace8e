"""Generator of documents from the code: `python docs/generate.py`, or `--check` to compare and check only.

Generated are marked blocks and whole pages of `docs/reference/`, the OpenAPI documents, `.env.example` and the picture
of the graph. `--check` also checks names, links and anchors of all documents, and that nothing of the code is missing.
"""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
# Importing the entry modules reads the settings. It opens no connections.
os.environ.update(DATABASE_URL="postgresql://localhost/chatbot", SECRET_KEY="x" * 32)
for name in set(os.environ) - {"DATABASE_URL", "SECRET_KEY", "PATH", "HOME"}:
    del os.environ[name]

from docs.generator.code_names import unknown_names  # noqa: E402 - after the settings above
from docs.generator.documents import documents, undocumented, unknown  # noqa: E402
from docs.generator.links import broken_links, long_pages  # noqa: E402


def generate() -> int:
    """Write or check the documents and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a document is wrong")
    check_only = parser.parse_args().check
    stale = []
    for path, content in documents().items():
        if not path.exists() or path.read_text() != content:
            stale.append(str(path.relative_to(ROOT)))
            if not check_only:
                path.parent.mkdir(exist_ok=True)
                path.write_text(content)
    if stale:
        print("out of date (run `make docs`):" if check_only else "written:", ", ".join(stale))
    problems = undocumented() + [f"documented, but not in the code: {name}" for name in unknown()]
    if check_only:
        problems += broken_links() + long_pages() + unknown_names()
    for problem in problems:
        print(problem)
    return 1 if problems or (check_only and stale) else 0


if __name__ == "__main__":
    sys.exit(generate())

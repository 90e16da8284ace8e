"""Links between documents lead to a file and a heading that exist."""

from pathlib import Path

import pytest

from docs.generator.links import anchors, broken_links_of, pages
from docs.generator.paths import ROOT


@pytest.mark.parametrize("document", pages(), ids=lambda document: str(document.relative_to(ROOT)))
def test_links_of_a_document_have_targets(document: Path) -> None:
    assert broken_links_of(document) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# Other\n\n## Two words\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md#two-words) [b](other.md#three) [c](missing.md) `[d](code.md)` [e](https://x.example)\n"
    )
    assert broken_links_of(page) == ["other.md#three", "missing.md"]


def test_headings_with_the_same_text_have_numbered_anchors(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Same\n\n## Same\n\n```\n# not a heading\n```\n")
    assert anchors(page) == {"same", "same-1"}

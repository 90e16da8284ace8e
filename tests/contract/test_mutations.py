"""The mutations of `make mutants` match the code, and every survivor is judged in the documentation."""

from pathlib import Path

import pytest

from tests.mutants.mutation import Mutation
from tests.mutants.mutations import MUTATIONS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_original_text_occurs_once_and_tests_exist(mutation: Mutation) -> None:
    text = (ROOT / "app" / mutation.file).read_text()
    assert text.count(mutation.original) == 1
    assert mutation.mutated != mutation.original
    if mutation.file.endswith(".py"):
        compile(text.replace(mutation.original, mutation.mutated), mutation.file, "exec")
    files = [argument for argument in mutation.tests if argument.endswith(".py")]
    assert files
    assert all((ROOT / "tests" / file).exists() for file in files)


def test_names_are_unique() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)

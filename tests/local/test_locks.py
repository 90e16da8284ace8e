"""Consistency of lock files, dependency groups and the build context of the images."""

import re
import tomllib
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from local.paths import PROJECT

GROUPS: dict[str, list[Any]] = tomllib.loads((PROJECT / "pyproject.toml").read_text())["dependency-groups"]
LOCKS = {group: f"requirements/{group}.txt" for group in GROUPS} | {"services": "requirements.txt"}


def named(group: str) -> set[str]:
    """Return the packages that a group names, with those of included groups."""
    names: set[str] = set()
    for entry in GROUPS[group]:
        included = named(entry["include-group"]) if isinstance(entry, dict) else {Requirement(entry).name}
        names |= {canonicalize_name(name) for name in included}
    return names


def pins(group: str) -> dict[str, str]:
    """Return the versions in a group's lock, by package."""
    lock = (PROJECT / LOCKS[group]).read_text()
    return {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE)}


def test_each_lock_belongs_to_a_group() -> None:
    files = {str(file.relative_to(PROJECT)) for file in PROJECT.glob("requirements*/**/*.txt") if file.is_file()}
    assert files | {"requirements.txt"} == set(LOCKS.values())
    assert [file.name for file in PROJECT.glob("requirements*") if file.is_file()] == ["requirements.txt"]


@pytest.mark.parametrize("group", GROUPS)
def test_a_lock_pins_what_its_group_names(group: str) -> None:
    assert named(group) <= pins(group).keys()


@pytest.mark.parametrize(
    ("included_group", "including_group"),
    [("services", "local"), ("model-server", "local"), ("node", "local"), ("local", "dev")],
)
def test_a_package_has_one_version_in_all_locks(included_group: str, including_group: str) -> None:
    assert pins(included_group).items() <= pins(including_group).items()


def test_the_build_context_has_what_the_dockerfile_copies() -> None:
    copied_paths = set()
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE):
        copied_paths |= set(sources.split())
    lines = (PROJECT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    # Of the web application, some files are copied before the others.
    first_copied = {path for path in copied_paths if path.startswith("frontend/")}
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == copied_paths - first_copied
    assert "frontend" in copied_paths

"""Inputs of the build of the web application: which files they are, and the keys of its caches."""

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

from local.npm import NODE_VERSION

# Results, also of other commands, and the configuration of tools that do not build.
_NOT_INPUTS = [
    "node_modules",
    "dist",
    "coverage",
    "tests",
    "*.test.ts",
    "auto-imports.d.ts",
    "components.d.ts",
    ".env*",
    ".prettier*",
    "eslint.config.js",
    "openapi-ts.config.ts",
    "vitest.config.ts",
]
_INSTALLATION_INPUTS = [".npmrc", "package.json", "package-lock.json"]


def build_key(sources: Path) -> str:
    """Return the key of a build: a hash of all inputs and of Node's version."""
    return _hash_files(sources, _input_files(sources))


def installation_key(sources: Path) -> str:
    """Return the key of the installed packages: a hash of the lock and of Node's version."""
    return _hash_files(sources, (sources / name for name in _INSTALLATION_INPUTS))


def copy_inputs(sources: Path, target: Path) -> None:
    """Make a directory contain the inputs and nothing else but the packages that are installed there."""
    for path in target.iterdir():
        if path.is_dir() and not path.is_symlink():
            if path.name != "node_modules":
                shutil.rmtree(path)
        else:
            path.unlink()
    for file in _input_files(sources):
        copy = target / file.relative_to(sources)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)


def _input_files(directory: Path) -> Iterator[Path]:
    """Yield the files in a fixed order."""
    for path in sorted(directory.iterdir()):
        if any(fnmatch(path.name, pattern) for pattern in _NOT_INPUTS):
            continue
        if path.is_dir():
            yield from _input_files(path)
        else:
            yield path


def _hash_files(sources: Path, files: Iterable[Path]) -> str:
    digest = hashlib.sha256(f"node {NODE_VERSION}\n".encode())
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.relative_to(sources).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:32]

"""Lists the packages of a release (SBOM), and looks up their known vulnerabilities.

    python -m local.audit sbom     writes CycloneDX files to sbom/
    python -m local.audit check    fails if a package has a known vulnerability without an exception

The look-up ends after a bounded time, and says so, if the databases of vulnerabilities cannot be reached.
"""

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.npm import FRONTEND, npm_command, npm_environment
from local.paths import PROJECT

SBOM = PROJECT / "sbom"
LOCK_FILES = ("requirements.txt", "requirements/model-server.txt", "requirements/node.txt")
"""Packages of the images, except those of the web application."""
EXCEPTIONS = PROJECT / "requirements" / "audit-exceptions.toml"
TIMEOUT = 60
"""Seconds for each look-up."""


@dataclass(frozen=True)
class Vulnerability:
    """A known vulnerability of a package."""

    package: str
    version: str
    ids: frozenset[str]


def python_vulnerabilities(report: dict[str, Any]) -> list[Vulnerability] | None:
    """Return the findings in a report of pip-audit; None if its data could not be reached.

    An index without data about vulnerabilities answers that it does not know the packages.
    """
    packages = report["dependencies"]
    if not any("vulns" in package for package in packages):
        return None
    return [
        Vulnerability(package["name"], package["version"], frozenset({found["id"], *found["aliases"]}))
        for package in packages
        for found in package.get("vulns", [])
    ]


def node_vulnerabilities(report: dict[str, Any]) -> list[Vulnerability] | None:
    """Return the findings in a report of `npm audit`; None if its data could not be reached."""
    if "vulnerabilities" not in report:
        return None
    return [
        Vulnerability(name, str(package.get("range", "")), frozenset({str(source["url"]).rpartition("/")[2]}))
        for name, package in report["vulnerabilities"].items()
        for source in package["via"]
        if isinstance(source, dict)
    ]


def excepted_ids(path: Path = EXCEPTIONS) -> frozenset[str]:
    """Return the ids of the vulnerabilities that do not affect this project."""
    exceptions = tomllib.loads(path.read_text(encoding="utf-8"))["exception"]
    return frozenset(name for one in exceptions for name in one["ids"])


def write_sbom() -> None:
    """Write a CycloneDX file for each lock file, and one for the web application."""
    SBOM.mkdir(exist_ok=True)
    for name in LOCK_FILES:
        target = SBOM / f"{Path(name).stem}.cdx.json"
        options = ["--output-format", "JSON", "--output-reproducible", "--output-file", str(target), name]
        subprocess.run([sys.executable, "-m", "cyclonedx_py", "requirements", *options], cwd=PROJECT, check=True)
    # Optional peers that are not installed are no fault of the list.
    options = ["--omit", "dev", "--package-lock-only", "--legacy-peer-deps"]
    command = npm_command("sbom", "--sbom-format", "cyclonedx", *options)
    environment = npm_environment(os.environ)
    bom = subprocess.run(command, cwd=FRONTEND, env=environment, check=True, stdout=subprocess.PIPE).stdout
    (SBOM / "frontend.cdx.json").write_bytes(bom)
    print(f"Written: {', '.join(sorted(path.name for path in SBOM.iterdir()))} in {SBOM.relative_to(PROJECT)}/")


def check() -> int:
    """Look up all packages; print what was found, and return the exit code."""
    excepted, findings = excepted_ids(), 0
    for name, look_up in {**dict.fromkeys(LOCK_FILES, _audit_python), "frontend": _audit_node}.items():
        found = look_up(name)
        if found is None:
            print(f"{name}: not checked: the database of vulnerabilities was not reached within {TIMEOUT} s")
            continue
        open_findings = [one for one in found if not one.ids & excepted]
        print(f"{name}: {len(open_findings)} known vulnerabilities, {len(found) - len(open_findings)} excepted")
        for one in open_findings:
            print(f"  {one.package} {one.version}: {', '.join(sorted(one.ids))}")
        findings += len(open_findings)
    return int(findings > 0)


def _audit_python(lock_file: str) -> list[Vulnerability] | None:
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.json"
        command = ["pip_audit", "--require-hashes", "--disable-pip", "--progress-spinner=off", "--format=json"]
        _run([sys.executable, "-m", *command, f"--output={report}", "--requirement", lock_file], PROJECT)
        if not report.exists():
            return None
        return python_vulnerabilities(json.loads(report.read_text(encoding="utf-8")))


def _audit_node(_name: str) -> list[Vulnerability] | None:
    output = _run(npm_command("audit", "--json", "--omit=dev", "--package-lock-only"), FRONTEND)
    try:
        return node_vulnerabilities(json.loads(output))
    except ValueError:
        return None


def _run(command: list[str | Path], directory: Path) -> str:
    """Return the output of a command; empty if it takes too long. Its exit code says nothing about its reach."""
    try:
        result = subprocess.run(
            command,
            cwd=directory,
            env=npm_environment(os.environ),
            timeout=TIMEOUT,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return ""
    return result.stdout.decode()


def main(arguments: list[str]) -> int:
    """Run the command and return the exit code."""
    match arguments:
        case ["sbom"]:
            write_sbom()
            return 0
        case ["check"]:
            return check()
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Reports of the audits of packages: findings, exceptions, and databases that were not reached."""

from typing import Any

from local.audit import LOCK_FILES, Vulnerability, excepted_ids, node_vulnerabilities, python_vulnerabilities
from local.paths import PROJECT


def test_findings_of_pip_audit_have_all_their_ids() -> None:
    vulnerability: dict[str, Any] = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": []}
    report = {
        "dependencies": [
            {"name": "one", "version": "1", "vulns": []},
            {"name": "two", "version": "2", "vulns": [vulnerability]},
        ]
    }
    assert python_vulnerabilities(report) == [Vulnerability("two", "2", frozenset({"PYSEC-2026-1", "CVE-2026-1"}))]


def test_index_that_knows_no_package_was_not_reached() -> None:
    skipped = {"name": "one", "skip_reason": "Dependency not found on PyPI"}
    assert python_vulnerabilities({"dependencies": [skipped]}) is None


def test_findings_of_npm_audit_are_counted_at_their_source() -> None:
    report = {
        "vulnerabilities": {
            "one": {"range": "<2", "via": [{"url": "https://github.com/advisories/GHSA-xxxx"}]},
            "two": {"range": "*", "via": ["one"]},
        }
    }
    assert node_vulnerabilities(report) == [Vulnerability("one", "<2", frozenset({"GHSA-xxxx"}))]
    assert node_vulnerabilities({"message": "request to the registry failed"}) is None


def test_exceptions_name_packages_of_the_lock_files() -> None:
    locked = "".join((PROJECT / name).read_text() for name in LOCK_FILES)
    assert excepted_ids()
    assert "\necdsa==" in locked

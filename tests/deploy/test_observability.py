"""Dashboard, alert rules and scrape configuration: they are valid, and their metrics exist."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from app.chat.accounting.turn_metrics import TurnMetrics
from app.http.metrics import RequestMetrics
from app.observability.metrics import Metrics, StateCollector
from app.worker.metrics import JobCollector
from app.worker.periodic_job import Job
from local.paths import PROJECT

DIRECTORY = PROJECT / "deploy" / "observability"
PROMETHEUS, ALERTS = DIRECTORY / "prometheus.yml", DIRECTORY / "alerts.yml"
STATE = {
    "database": {"in_use": 1, "free": 4, "max": 50},
    "requests": {"running": 1, "expensive": {"running": 0}},
    "redis": {"is_away": False, "outages": 0},
    "models": {"gpt-4": "closed"},
    "model_parameters": {"gpt-4": {"temperature": None}},
    "webhooks": {"under_way": 0, "delivered": 1, "postponed": 0, "failed": 0},
    "turns": 1,
    "questions": 0,
    "streams": 0,
    "searches": 0,
    "imports": 0,
}


def existing_metrics() -> set[str]:
    """Return the names of the metrics of all processes, with the suffixes of their samples."""
    metrics = Metrics(service="tests", version="1")
    RequestMetrics(metrics)
    TurnMetrics(metrics, ["gpt-4"])

    async def run() -> int:
        return 0

    metrics.registry.register(StateCollector(lambda: STATE))
    metrics.registry.register(JobCollector([Job("a job", 1, run)]))
    names = {"up"}
    for line in generate_latest(metrics.registry).decode().splitlines():
        if match := re.match(r"# TYPE (\w+) (\w+)", line):
            name, kind = match.groups()
            names |= {name, f"{name}_bucket", f"{name}_count", f"{name}_sum"} if kind == "histogram" else {name}
    return names


def used_metrics(expression: str) -> set[str]:
    without_labels = re.sub(r"\{[^}]*\}|\b(by|ignoring|on|without) *\([^)]*\)|\[[^]]*\]|\"[^\"]*\"", "", expression)
    return set(re.findall(r"\b(?:chatbot|process|python)_\w+|\bup\b", without_labels))


def expressions() -> dict[str, str]:
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    found = {f"alert {rule['alert']}": rule["expr"] for rule in rules}
    for path in (DIRECTORY / "grafana" / "dashboards").glob("*.json"):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                found[f"panel {panel['title']} {target['refId']}"] = target["expr"]
    return found


@pytest.mark.parametrize(("place", "expression"), expressions().items(), ids=lambda value: value[:40])
def test_every_expression_uses_existing_metrics(place: str, expression: str) -> None:
    used = used_metrics(expression)
    assert used, place
    assert used <= existing_metrics(), place


def test_every_metric_of_the_project_is_shown() -> None:
    used = set.union(*(used_metrics(expression) for expression in expressions().values()))
    own = {name for name in existing_metrics() if name.startswith("chatbot_")}
    bases = {re.sub(r"_(bucket|count|sum)$", "", name) for name in used}
    details = {"chatbot_build_info", "chatbot_job_last_duration_seconds"}
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in own} - bases == details


def test_panels_do_not_overlap() -> None:
    panels = json.loads((DIRECTORY / "grafana" / "dashboards" / "chatbot.json").read_text())["panels"]
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is in Debian's package prometheus")
def test_promtool_accepts_rules_and_configuration(tmp_path: Path) -> None:
    configuration: dict[str, Any] = yaml.safe_load(PROMETHEUS.read_text())
    configuration["rule_files"] = [str(ALERTS)]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    result = subprocess.run(
        ["promtool", "check", "config", tmp_path / "prometheus.yml"],  # noqa: S607 - from PATH
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "14 rules found" in result.stdout


def test_prometheus_reads_every_kind_of_process() -> None:
    configured = yaml.safe_load(PROMETHEUS.read_text())["scrape_configs"]
    targets = {job["job_name"]: job["dns_sd_configs"][0]["port"] for job in configured}
    assert targets == {"auth-service": 8001, "chat-service": 8002, "admin-service": 8003, "worker": 8005}
    compose = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
    for name, port in targets.items():
        environment = compose["services"][name]["environment"]
        found = environment.get("UVICORN_PORT") or environment["WORKER_METRICS_PORT"]
        assert str(port) in str(found)
        assert "monitoring" in compose["services"][name]["networks"]

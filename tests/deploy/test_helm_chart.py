"""The Helm chart: linted and rendered by Helm, and checked against the schemas of Kubernetes and our policies."""

import copy
import re
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml

from app.config import Settings
from app.config.secret_files import secret_names
from app.database.retry_until_available import STORE_TIMEOUT
from local.paths import PROJECT
from tests.support.longest_turn import MAX_SECONDS

CHART = PROJECT / "deploy" / "helm" / "chatbot"
VERSIONS = ["1.30", "1.37"]
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "turns": {"chat": {"autoscaling": {"turnsInProgress": 50}}},
    "small": {
        **{name: {"replicas": 1, "autoscaling": {"enabled": False}} for name in ("auth", "chat", "admin", "gateway")},
        "networkPolicy": {"enabled": False},
    },
    "ingress": {
        "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "chat-tls", "annotations": {"a/b": "c"}},
        "images": {"pullSecrets": [{"name": "registry"}]},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "chat", "operator": "Exists"}],
        "settings": {"LLM_MODEL": "gpt-4", "LLM_CACHE_TTL": 0, "LLM_SUMMARY_ENABLED": False},
    },
    "gateway": {"gateway": {"hsts": "off"}, "settings": {"CORS_ORIGINS": "https://a.example,https://b.example"}},
    "owner": {"migrations": {"secretKeys": ["DATABASE_URL", "MIGRATION_DATABASE_URL"]}},
}
GUIDE = PROJECT / "docs" / "how-to" / "kubernetes.md"
VARIANTS["guide"] = yaml.safe_load(GUIDE.read_text().partition("```yaml\n")[2].partition("```")[0])
Manifest = dict[str, Any]


def render(values: dict[str, Any]) -> list[Manifest]:
    with helm_python.Chart.load(CHART) as chart:
        rendered = chart.render(values, name="demo", namespace="chat")
    texts = [text for path, text in sorted(rendered.items()) if path.endswith(".yaml")]
    return [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest]


@pytest.fixture(scope="module", params=[*VARIANTS.values()], ids=[*VARIANTS])
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return render(copy.deepcopy(request.param))


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    found = of_kind(manifests, "Deployment", "Job")
    return {manifest["metadata"]["name"]: manifest["spec"]["template"] for manifest in found}


def test_helm_lint_has_nothing_to_say() -> None:
    result = helm_python.lint(CHART, strict=True, namespace="chat")
    problems = [str(message) for message in result.get("messages", []) if "icon is recommended" not in str(message)]
    assert problems == []


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_fit_the_schemas(manifests: list[Manifest], version: str) -> None:
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_all_parts_are_there() -> None:
    manifests = render({})
    names = {f"{each['kind']} {each['metadata']['name']}" for each in manifests}
    components = ("auth", "chat", "admin", "worker", "gateway")
    assert names >= {f"Deployment demo-chatbot-{name}" for name in components}
    assert names >= {f"PodDisruptionBudget demo-chatbot-{name}" for name in components}
    assert names >= {f"NetworkPolicy demo-chatbot-{name}" for name in (*components, "migrations")}
    assert names >= {f"HorizontalPodAutoscaler demo-chatbot-{name}" for name in ("auth", "chat", "gateway")}
    assert "Job demo-chatbot-migrations" in names


def test_pods_have_no_privileges_and_bounded_resources(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests).items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]
            assert not container["image"].endswith(":latest")


def test_deployments_have_probes_and_time_to_stop(manifests: list[Manifest]) -> None:
    for deployment in of_kind(manifests, "Deployment"):
        spec = deployment["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        assert container["readinessProbe"]["httpGet"]["path"] in {"/readyz", "/index.html"}
        assert container["livenessProbe"]["httpGet"]["path"] in {"/livez", "/index.html"}
        assert "preStop" in container["lifecycle"]
        assert spec["terminationGracePeriodSeconds"] >= 5 + 20


def test_secrets_are_referred_to_only(manifests: list[Manifest]) -> None:
    assert of_kind(manifests, "Secret") == []
    for pod in pods(manifests).values():
        for variable in pod["spec"]["containers"][0]["env"]:
            name = variable["name"]
            assert name not in secret_names(Settings)
            if name.endswith("_FILE"):
                assert name.removesuffix("_FILE") in secret_names(Settings)
    settings = of_kind(manifests, "ConfigMap")[0]["data"]
    assert not settings.keys() & set(secret_names(Settings))
    assert settings.keys() - {"FORWARDED_ALLOW_IPS"} <= Settings.model_fields.keys()


def test_selectors_select_the_pods(manifests: list[Manifest]) -> None:
    labels = {name: pod["metadata"]["labels"].items() for name, pod in pods(manifests).items()}
    for each in of_kind(manifests, "Service", "PodDisruptionBudget", "NetworkPolicy", "Deployment"):
        spec = each["spec"]
        selector = spec.get("podSelector", spec.get("selector"))
        selected = selector.get("matchLabels", selector).items()
        assert [name for name, found in labels.items() if selected <= found] == [each["metadata"]["name"]]


def test_only_the_gateway_and_monitoring_reach_the_services() -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in of_kind(render({}), "NetworkPolicy")}
    for name in ("auth", "chat", "admin"):
        sources = [source for rule in policies[f"demo-chatbot-{name}"]["ingress"] for source in rule["from"]]
        assert len(sources) == 2
        component = sources[0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        assert (component, list(sources[1])) == ("gateway", ["namespaceSelector"])
    assert policies["demo-chatbot-migrations"]["ingress"] == []


def test_migrations_run_before_the_release() -> None:
    (job,) = of_kind(render({}), "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["python", "-m", "app.cli", "migrate"]
    assert "envFrom" not in container  # the ConfigMap is made after the hook


def variables(container: Manifest) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["env"]}


@pytest.mark.parametrize(("given", "text"), [("transaction", "transaction"), (104857600, "104857600"), (0.25, "0.25")])
def test_settings_reach_services_and_migrations_as_they_are_written(given: object, text: str) -> None:
    manifests = render({"settings": {"SOME_SETTING": given}})
    assert of_kind(manifests, "ConfigMap")[0]["data"]["SOME_SETTING"] == text
    assert variables(pods(manifests)["demo-chatbot-migrations"]["spec"]["containers"][0])["SOME_SETTING"] == text


def test_what_compose_passes_on_is_possible() -> None:
    services = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
    passed = services["chat-service"]["environment"].keys() - {"UVICORN_PORT"}
    secrets = passed & {*secret_names(Settings), *(f"{name}_FILE" for name in secret_names(Settings))}
    fixed = {"FORWARDED_ALLOW_IPS", "PUBLIC_URL", "WORKER_METRICS_PORT"}
    settings = dict.fromkeys(passed - secrets - fixed, "x")
    manifests = render({"settings": settings, "gateway": {"hsts": "max-age=300"}, "publicUrl": "https://x.example"})
    data = of_kind(manifests, "ConfigMap")[0]["data"]
    assert data.items() >= settings.items()
    assert data.keys() >= fixed
    rendered = pods(manifests)
    assert variables(rendered["demo-chatbot-migrations"]["spec"]["containers"][0]).items() >= settings.items()
    gateway = variables(rendered["demo-chatbot-gateway"]["spec"]["containers"][0])
    assert gateway.keys() >= services["nginx"]["environment"].keys()
    assert (gateway["GATEWAY_HSTS"], gateway["PUBLIC_URL"]) == ("max-age=300", "https://x.example")


def test_gateway_reads_the_origins_that_its_init_container_writes() -> None:
    manifests = render({"settings": {"CORS_ORIGINS": "https://a.example"}})
    spec = pods(manifests)["demo-chatbot-gateway"]["spec"]
    (writer,), (nginx,) = spec["initContainers"], spec["containers"]
    assert writer["command"][-1] == "python -m app.cli gateway-origins >/cors-origins/origins.conf"
    assert writer["envFrom"] == [{"configMapRef": {"name": of_kind(manifests, "ConfigMap")[0]["metadata"]["name"]}}]
    paths = [
        {(each["name"], each.get("subPath")): each["mountPath"] for each in container["volumeMounts"]}
        for container in (writer, nginx)
    ]
    assert [each["writable", "cors-origins"] for each in paths] == ["/cors-origins", "/etc/nginx/cors-origins"]


def test_only_migrations_get_the_url_of_the_owner() -> None:
    readers = {
        name
        for name, pod in pods(render(copy.deepcopy(VARIANTS["owner"]))).items()
        if "MIGRATION_DATABASE_URL_FILE" in {each["name"] for each in pod["spec"]["containers"][0]["env"]}
    }
    assert readers == {"demo-chatbot-migrations"}


def test_chat_scales_by_turns_in_progress() -> None:
    found = of_kind(render(copy.deepcopy(VARIANTS["turns"])), "HorizontalPodAutoscaler")
    (chat,) = [each for each in found if each["metadata"]["name"].endswith("-chat")]
    names = [metric["pods"]["metric"]["name"] for metric in chat["spec"]["metrics"] if metric["type"] == "Pods"]
    assert names == ["chatbot_turns_in_progress"]


@pytest.mark.parametrize(
    "values",
    [
        {"images": {"services": {"tag": "latest"}}},
        {"publicUrl": "chat.example.com"},
        {"secret": {"keys": ["secret key"]}},
        {"chat": {"replicas": 0}},
        {"chatt": {}},
        {"settings": {"PUBLIC_URL": "https://chat.example.com"}},
        {"gateway": {"hsts": False}},
    ],
)
def test_bad_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(helm_python.HelmError):
        render(values)


@pytest.mark.parametrize(
    ("settings", "timeout", "longest_stream"),
    [
        ({}, "60", 960),
        ({"LLM_TURN_TIMEOUT": "3600", "LLM_REASONING_TIMEOUT": 3600, "LLM_STREAM_TIMEOUT": 900}, "3600", MAX_SECONDS),
        ({"LLM_TURN_TIMEOUT": 90.5, "LLM_REASONING_TIMEOUT": "1"}, "90.5", 481),
    ],
)
def test_gateway_waits_for_the_longest_answer(settings: dict[str, Any], timeout: str, longest_stream: int) -> None:
    pod = pods(render({"settings": settings}))["demo-chatbot-gateway"]["spec"]
    (container,) = pod["containers"]
    assert {"name": "LLM_TURN_TIMEOUT", "value": timeout} in container["env"]
    last_sleep = int(container["lifecycle"]["preStop"]["exec"]["command"][-1].rpartition(" ")[2])
    assert longest_stream + STORE_TIMEOUT < last_sleep < pod["terminationGracePeriodSeconds"]


def test_upstreams_are_full_names() -> None:
    gateway = pods(render({}))["demo-chatbot-gateway"]["spec"]["containers"][0]
    upstreams = {each["name"]: each["value"] for each in gateway["env"] if each["name"].endswith("_UPSTREAM")}
    assert upstreams["CHAT_UPSTREAM"] == "demo-chatbot-chat.chat.svc.cluster.local:8002"
    assert all(re.fullmatch(r"[a-z-]+\.chat\.svc\.cluster\.local:\d+", value) for value in upstreams.values())

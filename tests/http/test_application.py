"""The application around the routes: CORS, common headers, OpenAPI."""

import pytest
from fastapi.testclient import TestClient

from app import admin_main, auth_main, main
from app.config import Settings

CREATE = {"auth": auth_main.create, "chat": main.create, "admin": admin_main.create}
ORIGIN = "http://localhost:3000"


def test_allowed_origin_may_send_credentials(auth_service: TestClient) -> None:
    response = auth_service.get("/livez", headers={"Origin": ORIGIN})
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert response.headers["Access-Control-Allow-Credentials"] == "true"
    assert "Content-Disposition" in response.headers["Access-Control-Expose-Headers"].split(", ")
    preflight_headers = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "Authorization",
    }
    assert auth_service.options("/api/v1/auth/login", headers=preflight_headers).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:3001", "null"])
def test_other_origins_get_no_cors_headers(auth_service: TestClient, origin: str) -> None:
    response = auth_service.get("/livez", headers={"Origin": origin})
    assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("path", ["/livez", "/nowhere", "/api/v1/auth/me"])
def test_responses_have_request_id_and_security_headers(auth_service: TestClient, path: str) -> None:
    headers = auth_service.get(path).headers
    assert len(headers["X-Request-ID"]) >= 8
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("service", CREATE)
def test_interactive_documentation_requires_debug(settings: Settings, service: str) -> None:
    paths = [f"/api/v1/{service}/openapi.json", f"/api/v1/{service}/docs"]
    for debug, status in ((False, 404), (True, 200)):
        with TestClient(CREATE[service](settings.model_copy(update={"DEBUG": debug}))) as client:
            assert [client.get(path).status_code for path in paths] == [status, status]
            assert [client.get(path).status_code for path in ("/docs", "/redoc", "/openapi.json")] == [404] * 3


@pytest.mark.parametrize("service", CREATE)
def test_operations_have_unique_ids_and_problem_responses(settings: Settings, service: str) -> None:
    document = CREATE[service](settings).openapi()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    for path, methods in document["paths"].items():
        if path.startswith("/api/"):
            for operation in methods.values():
                refusals = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
                assert refusals
                for answer in refusals.values():
                    assert "application/problem+json" in answer["content"]

"""What all three services have around their routes."""

import pytest
from fastapi.testclient import TestClient

from app import admin_main, auth_main, main
from app.config import Settings

CREATE = {"auth": auth_main.create, "chat": main.create, "admin": admin_main.create}
ORIGIN = "http://localhost:3000"


def test_pages_of_a_listed_origin_may_call_with_credentials(auth_service: TestClient) -> None:
    response = auth_service.get("/livez", headers={"Origin": ORIGIN})
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert response.headers["Access-Control-Allow-Credentials"] == "true"
    assert "Content-Disposition" in response.headers["Access-Control-Expose-Headers"].split(", ")
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "Authorization",
    }
    assert auth_service.options("/api/v1/auth/login", headers=asked).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:3001", "null"])
def test_pages_of_other_origins_may_not(auth_service: TestClient, origin: str) -> None:
    response = auth_service.get("/livez", headers={"Origin": origin})
    assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("path", ["/livez", "/nowhere", "/api/v1/auth/me"])
def test_every_answer_has_an_id_and_is_neither_sniffed_nor_kept(auth_service: TestClient, path: str) -> None:
    headers = auth_service.get(path).headers
    assert len(headers["X-Request-ID"]) >= 8
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("service", CREATE)
def test_the_interactive_pages_are_for_debugging_only(settings: Settings, service: str) -> None:
    paths = [f"/api/v1/{service}/openapi.json", f"/api/v1/{service}/docs"]
    for debug, status in ((False, 404), (True, 200)):
        with TestClient(CREATE[service](settings.model_copy(update={"DEBUG": debug}))) as client:
            assert [client.get(path).status_code for path in paths] == [status, status]
            assert [client.get(path).status_code for path in ("/docs", "/redoc", "/openapi.json")] == [404] * 3


@pytest.mark.parametrize("service", CREATE)
def test_every_operation_has_a_unique_id_and_its_refusals_as_problems(settings: Settings, service: str) -> None:
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

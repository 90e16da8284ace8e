"""Requests that take long have places of their own, so that they leave those of the other requests free."""

from typing import Any

import pytest

from app.services.limits.admission import AdmissionControl, AdmittedRequest
from app.services.limits.fair_queue import Slot
from tests.fixtures.services import ADMIN, AUTH, CHAT, PASSWORD
from tests.fixtures.world import World

LONG_REQUESTS: list[tuple[str, str, str, dict[str, Any] | None]] = [
    ("owner", "GET", f"{CHAT}/search?q=word", None),
    ("owner", "GET", f"{CHAT}/sessions?search=word", None),
    ("owner", "POST", f"{CHAT}/sessions/{{session}}/duplicate", {}),
    ("owner", "POST", f"{CHAT}/sessions/delete", {"all": True}),
    ("owner", "POST", f"{CHAT}/sessions/archive", {"all": True}),
    ("owner", "DELETE", f"{AUTH}/me", {"password": PASSWORD}),
    ("admin", "DELETE", f"{AUTH}/admin/users/{{user}}", None),
    ("admin", "GET", f"{ADMIN}/overview", None),
    ("admin", "GET", f"{ADMIN}/analytics/usage", None),
    ("admin", "GET", f"{ADMIN}/reports/usage.csv", None),
]


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each entry into the queue of long requests, whether the request also occupies a place of the others."""
    entered: list[bool] = []
    enter_expensive = AdmissionControl.enter_expensive

    async def enter(control: AdmissionControl, request: AdmittedRequest) -> Slot:
        entered.append(request.slot.is_held)
        return await enter_expensive(control, request)

    monkeypatch.setattr(AdmissionControl, "enter_expensive", enter)
    return entered


@pytest.mark.parametrize(
    ("caller", "method", "path", "body"), LONG_REQUESTS, ids=[f"{request[1]} {request[2]}" for request in LONG_REQUESTS]
)
def test_long_request_leaves_the_places_of_other_requests(
    world: World, entered: list[bool], caller: str, method: str, path: str, body: dict[str, Any] | None
) -> None:
    user = world.owner if caller == "owner" else world.admin
    session = world.chat(world.owner).open(title="Test")
    url = path.format(session=session, user=world.owner.id)
    service = world.services[url.split("/")[3]]
    response = service.request(method, url, json=body, headers=user.headers)
    assert response.is_success, response.text
    assert entered == [False]

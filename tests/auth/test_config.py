"""Configuration that pages read before a login."""

from typing import get_args

import pytest
from fastapi.testclient import TestClient

from app import auth_main
from app.chat.schemas.feedback import FeedbackRequest
from app.config import Settings
from app.core.content_limits import FeedbackReason
from tests.fixtures.services import AUTH, register


def test_config_needs_no_login_and_may_be_cached(auth_client: TestClient) -> None:
    response = auth_client.get(f"{AUTH}/config")
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "public, max-age=60"
    config = response.json()
    del config["limits"], config["feedback_reasons"]
    assert config == {
        "product_name": "Chat Bot System",
        "login_notice": "",
        "registration": "open",
        "mail_enabled": False,
        "email_verification_required": False,
        "unverified_may_chat": True,
        "password": {"min_length": 8, "max_length": 256},
        "username": {"min_length": 3, "max_length": 50, "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$"},
        "sharing_enabled": True,
    }


def test_config_shows_settings(settings: Settings, auth_client: TestClient) -> None:
    changes = {
        "PROJECT_NAME": "Helpdesk",
        "LOGIN_NOTICE": "Log in as admin.",
        "REGISTRATION": "closed",
        "MAIL_URL": "file:///tmp/mail",
        "UNVERIFIED_MAY_CHAT": False,
        "SHARING_ENABLED": False,
        "IMPORT_MAX_BYTES": 2_000_000,
    }
    application = auth_main.create(settings.model_copy(update=changes))
    with TestClient(application, client=("203.0.113.7", 50_000)) as client:
        response = client.get(f"{AUTH}/config")
    assert response.headers["RateLimit"].startswith('"address"')
    config = response.json()
    assert config["product_name"] == "Helpdesk"
    assert config["login_notice"] == "Log in as admin."
    assert config["registration"] == "closed"
    assert (config["mail_enabled"], config["unverified_may_chat"], config["sharing_enabled"]) == (True, False, False)
    assert config["limits"]["import_bytes"] == 2_000_000


def test_limits_are_those_of_the_requests(auth_client: TestClient) -> None:
    config = auth_client.get(f"{AUTH}/config").json()
    for length in (config["password"]["min_length"] - 1, config["password"]["max_length"] + 1):
        assert register(auth_client, "ada", password="pX" * 200 if length > 100 else "p" * length).status_code == 422
    assert register(auth_client, "a" * (config["username"]["max_length"] + 1)).status_code == 422
    for rating, reasons in config["feedback_reasons"].items():
        FeedbackRequest.model_validate({"rating": rating, "reasons": reasons})
    assert {reason for reasons in config["feedback_reasons"].values() for reason in reasons} == set(
        get_args(FeedbackReason)
    )


def test_notice_is_bounded(settings: Settings) -> None:
    given = settings.model_dump(exclude_unset=True)
    assert Settings.model_validate(given | {"LOGIN_NOTICE": " Hi \n"}).LOGIN_NOTICE == "Hi"
    for changes in ({"LOGIN_NOTICE": "x" * 1001}, {"REGISTRATION": "perhaps"}):
        with pytest.raises(ValueError, match=next(iter(changes))):
            Settings.model_validate(given | changes)

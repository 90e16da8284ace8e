"""Signing secrets of webhooks."""

import base64
from uuid import uuid4

import pytest

from app.core.webhook_secrets import MissingSecretError, WebhookSecrets, parse_secrets

A, B = uuid4(), uuid4()
SHARED = ("whsec_" + base64.b64encode(b"1" * 24).decode(), "whsec_" + base64.b64encode(b"2" * 64).decode())
SECRETS = WebhookSecrets.from_secret("k" * 32, SHARED)


def test_secret_differs_per_endpoint_and_generation() -> None:
    made = {SECRETS.own(endpoint, generation) for endpoint in (A, B) for generation in (1, 2, 1000)}
    assert len(made) == 6
    assert all(parse_secrets(secret) == (secret,) for secret in made)
    assert SECRETS.own(A, 1) == WebhookSecrets.from_secret("k" * 32).own(A, 1)
    assert SECRETS.own(A, 1) != WebhookSecrets.from_secret("l" * 32).own(A, 1)


def test_current_secret_signs_and_previous_one_during_rotation() -> None:
    def signing(*, has_previous: bool) -> tuple[str, ...]:
        return SECRETS.signing(A, generation=3, has_previous=has_previous, uses_shared=False)

    assert signing(has_previous=False) == (SECRETS.own(A, 3),)
    assert signing(has_previous=True) == (SECRETS.own(A, 3), SECRETS.own(A, 2))
    of_three_rotations = SECRETS.signing(
        A, generation=9, has_previous=False, uses_shared=False, earlier_generations=[7, 4]
    )
    assert of_three_rotations == tuple(SECRETS.own(A, generation) for generation in (9, 7, 4))


def test_shared_secrets_sign_for_endpoints_that_use_them() -> None:
    assert SECRETS.signing(A, generation=3, has_previous=True, uses_shared=True) == SHARED
    with pytest.raises(MissingSecretError):
        WebhookSecrets.from_secret("k" * 32).signing(A, generation=1, has_previous=False, uses_shared=True)


def test_representation_contains_no_secrets() -> None:
    assert not any(secret in repr(SECRETS) for secret in SHARED)
    assert repr(SECRETS.key) not in repr(SECRETS)


def test_setting_may_contain_several_secrets() -> None:
    assert parse_secrets(f" {SHARED[0]}  {SHARED[1]} ") == SHARED


@pytest.mark.parametrize(
    "text",
    [
        "secret",
        "whsec_",
        "whsec_" + base64.b64encode(b"1" * 23).decode(),
        "whsec_" + base64.b64encode(b"1" * 65).decode(),
        "whsec_" + base64.b64encode(b"\xff" * 24).decode().replace("/", "!"),
        base64.b64encode(b"1" * 24).decode(),
        f"{SHARED[0]},{SHARED[1]}",
        f"{SHARED[0]} é",
    ],
)
def test_malformed_secret_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be whsec_"):
        parse_secrets(text)

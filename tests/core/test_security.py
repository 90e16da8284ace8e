"""Access tokens and refresh tokens."""

import base64
import json
import time
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jose import jwt
from jose.jwk import HMACKey

from app.config import Settings
from app.core.security import AccessTokens, InvalidTokenError, RefreshTokens, hash_token

KEY = "k" * 32
USER, SESSION = uuid4(), uuid4()
TOKENS = AccessTokens(key=KEY, algorithm="HS256", lifetime=timedelta(minutes=30))


def signed(change: dict[str, Any] | None = None, *, without: str = "", key: str = KEY, algorithm: str = "HS256") -> str:
    claims: dict[str, Any] = jwt.get_unverified_claims(TOKENS.issue(user_id=USER, session_id=SESSION))
    claims = {name: value for name, value in {**claims, **(change or {})}.items() if name != without}
    return str(jwt.encode(claims, key, algorithm=algorithm))


def raw(payload: str, header: str = '{"alg":"HS256","typ":"JWT"}') -> str:
    """Sign a payload that no encoder produces."""

    def encode(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    body = f"{encode(header.encode())}.{encode(payload.encode())}"
    return f"{body}.{encode(HMACKey(KEY, 'HS256').sign(body.encode()))}"


def test_access_token_contains_user_and_session() -> None:
    claims = TOKENS.verify(TOKENS.issue(user_id=USER, session_id=SESSION))
    assert (claims.sub, claims.sid) == (USER, SESSION)
    assert claims.exp - claims.iat == 1800
    assert isinstance(claims.jti, UUID)


def test_tokens_of_one_login_differ() -> None:
    one, two = (TOKENS.verify(TOKENS.issue(user_id=USER, session_id=SESSION)) for _ in range(2))
    assert one.jti != two.jti


def test_cached_token_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    token = TOKENS.issue(user_id=USER, session_id=SESSION)
    expires = TOKENS.verify(token).exp
    monkeypatch.setattr(time, "time", lambda: expires + 0.9)
    assert TOKENS.verify(token).exp == expires
    monkeypatch.setattr(time, "time", lambda: expires + 1.0)
    with pytest.raises(InvalidTokenError):
        TOKENS.verify(token)


@pytest.mark.parametrize("claim", ["sub", "sid", "jti", "typ", "iss", "aud", "iat", "exp"])
def test_every_claim_is_required(claim: str) -> None:
    with pytest.raises(InvalidTokenError):
        TOKENS.verify(signed(without=claim))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"exp": 1}, id="expired"),
        pytest.param({"exp": None}, id="exp null"),
        pytest.param({"exp": "soon"}, id="exp text"),
        pytest.param({"aud": "elsewhere"}, id="other audience"),
        pytest.param({"aud": ["chat-bot-system", "elsewhere"]}, id="audience among others"),
        pytest.param({"iss": "elsewhere"}, id="other issuer"),
        pytest.param({"typ": "refresh"}, id="not an access token"),
        pytest.param({"sub": "admin"}, id="sub is no uuid"),
        pytest.param({"nbf": int(time.time()) + 3600}, id="not yet"),
    ],
)
def test_invalid_claims_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidTokenError):
        TOKENS.verify(signed(change))


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(signed(key="x" * 32), id="other key"),
        pytest.param(signed(algorithm="HS512"), id="other algorithm"),
        pytest.param(raw(json.dumps(jwt.get_unverified_claims(signed())), '{"alg":"none"}'), id="none"),
        pytest.param(raw(json.dumps(jwt.get_unverified_claims(signed()) | {"exp": 0})[:-2] + "1e400}"), id="overflow"),
        pytest.param(raw("[]"), id="a list of claims"),
        pytest.param(raw("{" * 2000), id="broken payload"),
        pytest.param(signed({"pad": "x" * 5000}), id="too long"),
    ],
)
def test_forged_and_malformed_tokens_are_refused(token: str) -> None:
    with pytest.raises(InvalidTokenError):
        TOKENS.verify(token)


def test_non_canonical_encodings_are_refused() -> None:
    claims = jwt.get_unverified_claims(signed())
    assert TOKENS.verify(raw(json.dumps(claims, separators=(",", ":")))).sub == USER
    with pytest.raises(InvalidTokenError):
        TOKENS.verify(raw(json.dumps(claims)))


def test_clock_skew_of_a_minute_is_accepted() -> None:
    now = int(time.time())
    assert TOKENS.verify(signed({"iat": now + 50, "exp": now + 1850})).iat == now + 50
    with pytest.raises(InvalidTokenError):
        TOKENS.verify(signed({"iat": now + 90, "exp": now + 1890}))


def test_maximum_lifetime_is_accepted_and_longer_refused() -> None:
    (longest,) = (
        limit.le for limit in Settings.model_fields["ACCESS_TOKEN_EXPIRE_MINUTES"].metadata if hasattr(limit, "le")
    )
    tokens = AccessTokens(key=KEY, algorithm="HS256", lifetime=timedelta(minutes=longest))
    assert TOKENS.verify(tokens.issue(user_id=USER, session_id=SESSION)).sub == USER
    longer = AccessTokens(key=KEY, algorithm="HS256", lifetime=timedelta(minutes=longest + 1))
    with pytest.raises(InvalidTokenError):
        TOKENS.verify(longer.issue(user_id=USER, session_id=SESSION))


@given(st.text(max_size=200))
def test_arbitrary_text_raises_invalid_token_error(text: str) -> None:
    with pytest.raises(InvalidTokenError):
        TOKENS.verify(text)


@given(st.binary(min_size=1, max_size=8), st.integers(min_value=0))
def test_modified_token_is_refused(inserted: bytes, where: int) -> None:
    token = TOKENS.issue(user_id=USER, session_id=SESSION)
    position = where % len(token)
    with pytest.raises(InvalidTokenError):
        TOKENS.verify(token[:position] + inserted.hex() + token[position:])


REFRESH = RefreshTokens.from_secret(KEY)


def test_refresh_token_contains_256_random_bits_and_session_id() -> None:
    one, two = REFRESH.issue(SESSION), REFRESH.issue(SESSION)
    assert one != two
    assert len(base64.urlsafe_b64decode(one + "==")) == 16 + 32 + 16
    assert REFRESH.parse_session_id(one) == SESSION
    assert len(hash_token(one)) == 32


def test_successor_is_deterministic_and_depends_on_key() -> None:
    token = REFRESH.issue(SESSION)
    successor = REFRESH.derive_successor(token)
    assert successor == REFRESH.derive_successor(token) != token
    assert REFRESH.parse_session_id(successor) == SESSION
    assert RefreshTokens.from_secret("other" * 8).derive_successor(token) != successor


def test_mac_is_valid_for_issued_tokens_only() -> None:
    token = REFRESH.issue(SESSION)
    assert REFRESH.has_valid_mac(token)
    assert REFRESH.has_valid_mac(REFRESH.derive_successor(token))
    assert not REFRESH.has_valid_mac(RefreshTokens.from_secret("other" * 8).issue(SESSION))
    assert not REFRESH.has_valid_mac(token[:30] + ("A" if token[30] != "A" else "B") + token[31:])


@given(st.text(max_size=200))
def test_malformed_refresh_token_raises_value_error(text: str) -> None:
    for read in (REFRESH.parse_session_id, REFRESH.derive_successor, REFRESH.has_valid_mac):
        with pytest.raises(ValueError, match=r"base64url|length"):
            read(text)

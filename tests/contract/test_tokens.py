"""Invalid access tokens get the same 401 from every service."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from jose import jwt

from app.config import Settings
from tests.fixtures.services import ADMIN, AUTH, CHAT, User, assert_problem
from tests.support.forged_requests import HEADER, Forge, dump, encode

Make = Callable[[Forge], str]

DAY = 86_400
NOW = int(time.time())


def unsigned(algorithm: str) -> Make:
    return lambda forge: forge.unsigned(alg=algorithm)


def header(**members: object) -> Make:
    return lambda forge: forge.token(header={**HEADER, **members})


def claim(name: str, value: object) -> Make:
    return lambda forge: forge.token({name: value})


def raw_claim(name: str, text: str) -> Make:
    return lambda forge: forge.with_text(name, text)


def without(name: str) -> Make:
    return lambda forge: forge.without(name)


ALGORITHMS: dict[str, Make] = {
    **{f"{name} unsigned": unsigned(name) for name in ("none", "None", "NONE", "nOnE", "", "HS256")},
    **{
        f"{name} signed": header(alg=name)
        for name in ("none", "NONE", "", "hs256", "HS256 ", "RS256", "ES256", "PS256")
    },
    **{f"{name} signed": header(alg=name) for name in ("EdDSA", "dir", "HS384", "HS512")},
    "HS384": lambda forge: forge.token(header={**HEADER, "alg": "HS384"}, digest="sha384"),
    "HS512": lambda forge: forge.token(header={**HEADER, "alg": "HS512"}, digest="sha512"),
    "RS256 with a key of its own": Forge.with_rsa_key,
    "ES256 with a key of its own": Forge.with_ec_key,
    "alg null": header(alg=None),
    "alg a list": header(alg=["HS256"]),
    "alg missing": lambda forge: forge.token(header={"typ": "JWT"}),
    "alg twice": lambda forge: forge.token(header='{"alg":"none","alg":"HS256","typ":"JWT"}'),
    "header a list": lambda forge: forge.token(header='["HS256"]'),
    "header no JSON": lambda forge: forge.token(header="HS256"),
}
KEYS: dict[str, Make] = {
    "other key": lambda forge: forge.token(key=b"x" * 32),
    "empty key": lambda forge: forge.token(key=b""),
    "key and a newline": lambda forge: forge.token(key=forge.key + b"\n"),
    "no signature": lambda forge: forge.good.rpartition(".")[0] + ".",
    "no third part": lambda forge: forge.good.rpartition(".")[0],
    "half the signature": lambda forge: forge.good[:-20],
    "claims of another token": Forge.with_claims_of_another,
    "kid out of the directory": lambda forge: forge.token(header={**HEADER, "kid": "../../dev/null"}, key=b""),
    "kid with SQL": lambda forge: forge.token(header={**HEADER, "kid": "x' UNION SELECT 'k"}, key=b"k"),
    "jwk": lambda forge: forge.token(header={**HEADER, "jwk": {"kty": "oct", "k": encode(b"k" * 32)}}, key=b"k" * 32),
}
# Signed with the right key, but with header fields that the service does not evaluate.
HEADERS: dict[str, Make] = {
    "kid": header(kid="1"),
    "kid out of the directory, right key": header(kid="../../dev/null"),
    "jku": header(jku="http://127.0.0.1:9/keys"),
    "x5u": header(x5u="http://127.0.0.1:9/certificate"),
    "jwk and the right key": header(jwk={"kty": "oct", "k": "a2V5"}),
    "crit": header(crit=["exp"], exp=1),
    "b64 false": header(b64=False, crit=["b64"]),
    "zip": header(zip="DEF"),
    "cty": header(cty="JWT"),
    "typ of a refresh token": header(typ="rt+jwt"),
}
REQUIRED = ("sub", "sid", "jti", "typ", "iss", "aud", "iat", "exp")
INVALID_VALUES: dict[str, object] = {
    "null": None,
    "true": True,
    "a list": [],
    "an object": {},
    "empty": "",
    "0": 0,
    "0.5": 0.5,
}
CLAIMS: dict[str, Make] = {
    **{f"{name} missing": without(name) for name in REQUIRED},
    **{f"{name} {kind}": claim(name, value) for name in REQUIRED for kind, value in INVALID_VALUES.items()},
    "exp as text": lambda forge: forge.token({"exp": str(forge.claims["exp"])}),
    "exp with a fraction": lambda forge: forge.token({"exp": forge.claims["exp"] + 0.5}),
    "exp a second ago": claim("exp", NOW - 1),
    "exp negative": claim("exp", -1),
    "exp in a year": claim("exp", NOW + 365 * DAY),
    "exp of 30 digits": raw_claim("exp", "9" * 30),
    "exp of 2000 digits": raw_claim("exp", "9" * 2000),
    "exp 1e400": raw_claim("exp", "1e400"),
    "exp NaN": raw_claim("exp", "NaN"),
    "iat as text": lambda forge: forge.token({"iat": str(forge.claims["iat"])}),
    "iat with a fraction": lambda forge: forge.token({"iat": forge.claims["iat"] + 0.5}),
    "iat in an hour": lambda forge: forge.token({"iat": NOW + 3600, "exp": NOW + 5400}),
    "iat in a year": lambda forge: forge.token({"iat": NOW + 365 * DAY, "exp": NOW + 366 * DAY}),
    "iat years ago": claim("iat", 1),
    "iat 1e400": raw_claim("iat", "1e400"),
    "nbf in an hour": claim("nbf", NOW + 3600),
    "sub of somebody else": lambda forge: forge.token({"sub": forge.other.id}),
    "sub unknown": claim("sub", str(uuid4())),
    "sub a name": claim("sub", "root"),
    "sub with SQL": claim("sub", "' OR 1=1 --"),
    "sub with NUL": lambda forge: forge.token({"sub": forge.claims["sub"] + "\x00"}),
    "sub a lone surrogate": claim("sub", "\ud800"),
    "sid of somebody else": lambda forge: forge.token(
        {"sid": jwt.get_unverified_claims(forge.other.access_token)["sid"]}
    ),
    "sid unknown": claim("sid", str(uuid4())),
    "jti a number": claim("jti", "1"),
    "typ refresh": claim("typ", "refresh"),
    "typ in capitals": claim("typ", "ACCESS"),
    "iss elsewhere": claim("iss", "elsewhere"),
    "iss a list": lambda forge: forge.token({"iss": [forge.claims["iss"]]}),
    "aud elsewhere": claim("aud", "elsewhere"),
    "aud a list": lambda forge: forge.token({"aud": [forge.claims["aud"]]}),
    "a claim twice": lambda forge: forge.token(
        payload=dump({"sub": forge.other.id})[:-1] + "," + dump(dict(forge.claims))[1:]
    ),
    "claims a list": lambda forge: forge.token(payload=dump([dict(forge.claims)])),
    "claims no JSON": lambda forge: forge.token(payload="{"),
    "claims too deep": lambda forge: forge.token(payload="[" * 1400 + "]" * 1400),
    "no claims": lambda forge: forge.token(payload=""),
}
MALFORMED_TOKENS: dict[str, Make] = {
    "padded": lambda forge: forge.good + "=",
    "parts padded": lambda forge: ".".join(part + "=" * (-len(part) % 4) for part in forge.good.split(".")),
    "a dot at the end": lambda forge: forge.good + ".",
    "a fourth part": lambda forge: forge.good + ".x",
    "a space within": lambda forge: forge.good.replace(".", ". ", 1),
    "a tab within": lambda forge: forge.good.replace(".", ".\t", 1),
    "a space that does not break": lambda forge: "\xa0" + forge.good,
    "a next line": lambda forge: forge.good + "\x85",
    "a letter beyond ASCII": lambda forge: forge.good + "\xe9",
    "a comma": lambda forge: forge.good + ",",
    "quoted": lambda forge: f'"{forge.good}"',
    "twice": lambda forge: f"{forge.good} {forge.good}",
    "claims with spaces": lambda forge: forge.token(payload=json.dumps(dict(forge.claims))),
    "claims with escapes": lambda forge: forge.token(
        payload=dump(dict(forge.claims)).replace("access", "\\u0061ccess")
    ),
    "other last bits": Forge.with_other_last_bits,
    "an encrypted one": lambda forge: forge.good + "..",
    "one letter": lambda _: "x",
    "dots": lambda _: "..",
    "8 KB": lambda forge: forge.token({"pad": "x" * 6000}),
    "1 MB": lambda forge: forge.token({"pad": "x" * 750_000}),
    "a refresh token": lambda forge: forge.refresh_token,
    "an API key": lambda _: "cbk_" + "x" * 43,
}


@dataclass(frozen=True)
class Services:
    """One operation of each service, called with the permissions for all of them."""

    clients: Mapping[str, TestClient]

    def call(self, *authorization: str) -> list[Response]:
        headers = [(b"Authorization", value.encode("latin-1")) for value in authorization]
        return [client.get(path, headers=headers) for path, client in self.clients.items()]


@pytest.fixture
def services(auth_client: TestClient, chat_client: TestClient, admin_client: TestClient) -> Services:
    return Services({f"{AUTH}/me": auth_client, f"{CHAT}/sessions": chat_client, f"{ADMIN}/overview": admin_client})


@pytest.fixture
def forge(settings: Settings, admin: User, bob: User) -> Forge:
    return Forge(
        key=settings.SECRET_KEY.get_secret_value().encode(),
        claims=jwt.get_unverified_claims(admin.access_token),
        other=bob,
        refresh_token=admin.refresh_token,
    )


def assert_all_refuse(responses: list[Response], name: str = "") -> None:
    for response in responses:
        assert response.status_code == 401, name
        problem = assert_problem(response, 401)
        del problem["request_id"]
        assert problem == {
            "type": "about:blank",
            "title": "Unauthorized",
            "status": 401,
            "detail": "Could not validate credentials.",
            "code": "unauthorized",
        }
        assert response.headers["WWW-Authenticate"] == "Bearer"


def test_forge_makes_valid_tokens(services: Services, forge: Forge, admin: User) -> None:
    assert forge.good == admin.access_token
    for response in services.call(f"Bearer {forge.token({'jti': str(uuid4())})}"):
        assert response.status_code == 200


@pytest.mark.parametrize(
    "tokens",
    [ALGORITHMS, KEYS, HEADERS, CLAIMS, MALFORMED_TOKENS],
    ids=["algorithms", "keys", "headers", "claims", "spellings"],
)
def test_invalid_tokens_are_refused(services: Services, forge: Forge, tokens: Mapping[str, Make]) -> None:
    for name, make in tokens.items():
        assert_all_refuse(services.call(f"Bearer {make(forge)}"), name)


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "Bearer   "], ids=repr)
def test_bearer_scheme_is_case_insensitive(services: Services, forge: Forge, scheme: str) -> None:
    # RFC 9110, section 11.1; RFC 6750, section 2.1.
    assert [response.status_code for response in services.call(scheme + forge.good)] == [200] * 3


@pytest.mark.parametrize(
    "scheme", ["", "Bearer", "Bearer:", "Bearer\t", "Token ", "Basic ", "JWT ", "Bearer Bearer ", "Bea rer "], ids=repr
)
def test_other_schemes_are_refused(services: Services, forge: Forge, scheme: str) -> None:
    assert_all_refuse(services.call(scheme + forge.good))


def test_missing_or_repeated_header_is_refused(services: Services, forge: Forge) -> None:
    assert_all_refuse(services.call())
    assert_all_refuse(services.call(""))
    # A gateway may have evaluated the other one.
    assert_all_refuse(services.call(f"Bearer {forge.good}", f"Bearer {forge.good}"))
    assert_all_refuse(services.call(f"Bearer {forge.good}", "Bearer x"))
    assert_all_refuse(services.call("Bearer x", f"Bearer {forge.good}"))


def test_token_outside_of_header_is_ignored(auth_client: TestClient, forge: Forge) -> None:
    assert_all_refuse([auth_client.get(f"{AUTH}/me", params={"access_token": forge.good, "token": forge.good})])
    assert_all_refuse([auth_client.get(f"{AUTH}/me", headers={"Cookie": f"access_token={forge.good}"})])


def test_signing_key_is_refused_as_token(services: Services, forge: Forge) -> None:
    token_hash = hashlib.sha256(forge.key).hexdigest()
    for secret in (forge.key.decode(), token_hash, forge.claims["sid"], forge.claims["sub"]):
        assert_all_refuse(services.call(f"Bearer {secret}"))

"""Forged access tokens, each with one fault."""

import base64
import hmac
import json
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.fixtures.services import User

HEADER = {"alg": "HS256", "typ": "JWT"}


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def dump(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


@dataclass(frozen=True)
class Forge:
    """Makes tokens that are signed with the key of the services, so that only their content is wrong."""

    key: bytes
    claims: Mapping[str, Any]
    other: User
    refresh_token: str

    def token(
        self,
        change: Mapping[str, Any] | None = None,
        *,
        header: Mapping[str, Any] | str = HEADER,
        payload: str | None = None,
        key: bytes | None = None,
        digest: str = "sha256",
    ) -> str:
        header = header if isinstance(header, str) else dump(header)
        payload = dump({**self.claims, **(change or {})}) if payload is None else payload
        signed = f"{encode(header.encode())}.{encode(payload.encode())}"
        return f"{signed}.{encode(hmac.digest(self.key if key is None else key, signed.encode(), digest))}"

    def without(self, claim: str) -> str:
        return self.token(payload=dump({name: value for name, value in self.claims.items() if name != claim}))

    def with_text(self, claim: str, text: str) -> str:
        """Return a token whose claim has a value that no JSON encoder writes."""
        return self.token(payload=dump({**self.claims, claim: "@"}).replace('"@"', text))

    def unsigned(self, **header: str) -> str:
        return self.token(header=header).rpartition(".")[0] + "."

    @property
    def good(self) -> str:
        return self.token()

    def with_claims_of_another(self) -> str:
        header, _, signature = self.good.split(".")
        return f"{header}.{encode(dump({**self.claims, 'sub': self.other.id}).encode())}.{signature}"

    def with_other_last_bits(self) -> str:
        # 32 bytes are 43 characters, the last of which has two unused bits.
        alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
        return self.good[:-1] + alphabet[alphabet.index(self.good[-1]) ^ 1]

    def with_rsa_key(self) -> str:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        signed = self.token(header={**HEADER, "alg": "RS256"}).rpartition(".")[0]
        return f"{signed}.{encode(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def with_ec_key(self) -> str:
        key = ec.generate_private_key(ec.SECP256R1())
        signed = self.token(header={**HEADER, "alg": "ES256"}).rpartition(".")[0]
        return f"{signed}.{encode(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))}"

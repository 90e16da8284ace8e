"""Requests of the SSRF-safe client."""

from app.core.public_addresses import AllowedHosts
from app.services.http.ssrf_safe_client import ResponseHead, SsrfSafeClient
from tests.support.waiting import LONGEST_WAIT

ALL_HOSTS = AllowedHosts.parse(["0.0.0.0/0", "::/0"])


async def post(client: SsrfSafeClient, url: str, *, max_seconds: float = LONGEST_WAIT) -> ResponseHead:
    return await client.post(url, headers={"webhook-id": "1"}, content=b"{}", max_seconds=max_seconds)

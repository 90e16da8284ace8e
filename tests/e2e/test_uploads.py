"""Uploads that are refused, through the gateway."""

import json
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
import pytest

from local.stack import Stack
from tests.e2e.conftest import UserClient
from tests.support.waiting import LONGEST_WAIT

pytestmark = pytest.mark.e2e

PATH = "/api/v1/chat/import"


def test_refused_upload_gets_its_response_although_it_is_large(anonymous: httpx.Client) -> None:
    for size in (1_000_000, 20_000_000):
        response = anonymous.post(PATH, content=b" " * size)
        assert (response.status_code, response.json()["code"]) == (401, "unauthorized")


def test_stalled_upload_gets_a_problem_document(stack: Stack, make_user_client: Callable[[str], UserClient]) -> None:
    user = make_user_client("stalling")
    address = (urlsplit(stack.url).hostname, stack.ports.gateway)
    head = f"POST {PATH} HTTP/1.1\r\nHost: a\r\nAuthorization: {user.client.headers['Authorization']}\r\n"
    with socket.create_connection(address, timeout=LONGEST_WAIT) as connection:
        connection.sendall(f"{head}Content-Length: 1000\r\n\r\n[".encode())
        status, _, rest = connection.makefile("rb").read().decode().partition("\r\n")
    assert status.startswith("HTTP/1.1 408 ")
    body = rest.partition("\r\n\r\n")[2]
    document = json.loads(body[body.index("{") : body.rindex("}") + 1])
    assert (document["status"], document["code"]) == (408, "request_timeout")

"""Raw HTTP requests, including those that no HTTP client sends."""

import socket
from urllib.parse import urlsplit

from tests.support.waiting import LONGEST_WAIT


def send_raw_request(url: str, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes, and return status, headers and content of the response."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=LONGEST_WAIT) as connection:
        connection.sendall(request)
        received = b""
        while piece := connection.recv(65_536):
            received += piece
    head, _, content = received.partition(b"\r\n\r\n")
    status_line, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status_line.split()[1]), headers, content

"""Readiness check of the stack's HTTP servers."""

from http import HTTPStatus
from http.client import HTTPConnection, HTTPException


def responds_ok(port: int, path: str) -> bool:
    """Return whether a server on loopback answers GET with 200. Cheap enough to be called many times per second."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()

"""How the stack asks its own HTTP servers whether they are ready."""

from http import HTTPStatus
from http.client import HTTPConnection, HTTPException


def responds_ok(port: int, path: str) -> bool:
    """Say whether a server on this machine answers 200. Asked many times a second, so it costs next to nothing."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()

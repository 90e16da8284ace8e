"""Receiver of webhooks that verifies signatures, with the standard library only: `webhook_receiver.py PORT`."""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MAX_AGE = 300  # seconds
KEY = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
seen: set[str] = set()  # a real receiver stores the ids for some days


def is_authentic(headers: Message, body: bytes) -> bool:
    """Return whether one of the signatures is valid and the request is recent."""
    event_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > MAX_AGE:
        return False
    digest = hmac.digest(KEY, f"{event_id}.{timestamp}.".encode() + body, hashlib.sha256)
    expected = b"v1," + base64.b64encode(digest)
    signatures = headers.get("webhook-signature", "").encode().split()
    return any(hmac.compare_digest(expected, signature) for signature in signatures)


class Receiver(BaseHTTPRequestHandler):
    """Answers 401 to requests that are not authentic, and 204 to all others."""

    def do_POST(self) -> None:
        """Verify, respond, and process an event once."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not is_authentic(self.headers, body):
            self._respond(401)
            return
        event_id = self.headers["webhook-id"]
        is_new = event_id not in seen
        seen.add(event_id)
        self._respond(204)
        if is_new:
            event = json.loads(body)
            print(event["type"], event["data"], flush=True)  # process the event here

    def _respond(self, status: int) -> None:
        self.send_response(status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by the base class
        """Log no requests."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()

"""Recorder of the examples of the API reference: calls every operation of a running local stack.

`python -m docs.generator.examples` after `make run PORT=...`, with the URL of the gateway as argument. The examples are
in `docs/reference/api/examples.json`; long texts and lists are shortened, and tokens are cut.
"""

import json
import re
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx2

from docs.generator.paths import REFERENCE, ROOT

EXAMPLES = REFERENCE / "api" / "examples.json"
AUTH, CHAT, ADMIN = "/api/v1/auth", "/api/v1/chat", "/api/v1/admin"
_MAX_TEXT = 70
_MAX_ITEMS = 2
_MAX_STREAM = 900
_SECRETS = re.compile(r"token$|^key$|^secret$|^invitation$|^url$")
_PASSWORD = "correct horse battery staple"  # noqa: S105 - an example
_JSON_ID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


def shorten(value: Any, name: str = "") -> Any:  # noqa: ANN401 - any JSON value
    """Return a JSON value with short texts and lists, and without whole tokens."""
    if isinstance(value, dict):
        return {key: shorten(item, key) for key, item in value.items()}
    if isinstance(value, list):
        more = ["..."] if len(value) > _MAX_ITEMS else []
        return [shorten(item, name) for item in value[:_MAX_ITEMS]] + more
    if isinstance(value, str) and _SECRETS.search(name) and len(value) > 24:  # noqa: PLR2004 - a token
        return value[: value.find("=") + 21 if name == "url" else 20] + "..."
    if isinstance(value, str) and len(value) > _MAX_TEXT:
        return value[:_MAX_TEXT] + "..."
    return value


@dataclass
class Recorder:
    """Sends requests, and records the first one of each operation."""

    client: httpx2.Client
    examples: dict[str, dict[str, Any]] = field(default_factory=dict)

    def call(  # noqa: PLR0913 - the parts of a request
        self,
        method: str,
        template: str,
        user: str | None = None,
        body: Any = None,  # noqa: ANN401 - any JSON value
        /,
        *,
        form: dict[str, str] | None = None,
        query: dict[str, str | int] | None = None,
        headers: dict[str, str] | None = None,
        file: bytes | None = None,
        ids: Mapping[str, str] | None = None,
    ) -> Any:  # noqa: ANN401 - any JSON value
        """Send a request, record it under its method and the template of its path, and return what it answered."""
        path = template.format_map(ids or {}) + (f"?{urlencode(query)}" if query else "")
        sent = dict(headers or {})
        if user:
            sent["Authorization"] = f"Bearer {user}"
        content: dict[str, Any] = {}
        if form is not None:
            content["data"] = form
        elif file is not None:
            content["content"] = file
        elif body is not None:
            content["json"] = body
        response = self.client.request(method, path, headers=sent, **content)
        if response.status_code >= 400:  # noqa: PLR2004 - an error
            raise SystemExit(f"{method} {path}: {response.status_code} {response.text[:500]}")
        if response.headers.get("content-type", "").partition(";")[0] == "application/json" and response.content:
            answer: Any = response.json()
            shown: Any = shorten(answer)
        else:
            answer = response.text
            shown = answer[:_MAX_STREAM].replace("\r\n", "\n").rstrip() + ("\n..." if len(answer) > _MAX_STREAM else "")
        request = shorten(form or body) if form or body is not None else None
        self.examples.setdefault(
            f"{method} {template}",
            {
                "path": re.sub(r"(shared/|token=)[\w-]{24,}", lambda match: match[1] + "AaIp9Yzhdm...", path),
                "headers": {name: value for name, value in sent.items() if name != "Authorization"},
                "auth": bool(user),
                "form": form is not None,
                "request": request,
                "status": response.status_code,
                "response": shown,
            },
        )
        return answer


def _mailed_token(recipient: str, page: str) -> str:
    """Return the token of the last link to a page in the emails to a recipient, which the stack writes to files."""
    for _attempt in range(100):
        for path in sorted(
            (ROOT / ".local" / "mail").rglob("*.eml"), key=lambda each: each.stat().st_mtime, reverse=True
        ):
            text = path.read_text().replace("=\n", "").replace("=3D", "=")
            if recipient in text and (match := re.search(rf"{page}#token=([\w-]+)", text)):
                return match[1]
        time.sleep(0.2)
    raise SystemExit(f"no email to {recipient}")


def record(url: str) -> dict[str, dict[str, Any]]:
    """Call every operation once, and return the examples."""
    recorder = Recorder(httpx2.Client(base_url=url, timeout=120))
    admin_password = (ROOT / ".local" / "admin-password").read_text().strip()
    suffix = secrets.token_hex(3)
    admin = _login(recorder, "admin@example.com", admin_password)
    user = _record_accounts(recorder, suffix)
    _record_conversations(recorder, user, admin)
    _record_openai(recorder, user)
    _record_administration(recorder, admin, user, suffix)
    _record_erasure(recorder, admin, suffix)
    return recorder.examples


def _login(recorder: Recorder, name: str, password: str) -> str:
    form = {"username": name, "password": password}
    return str(recorder.client.post(f"{AUTH}/login", data=form).json()["access_token"])


def _record_accounts(recorder: Recorder, suffix: str) -> str:
    call = recorder.call
    email, name = f"ada.{suffix}@example.com", f"ada-{suffix}"
    call("GET", f"{AUTH}/config")
    call(
        "POST",
        f"{AUTH}/register",
        None,
        {"email": email, "username": name, "password": _PASSWORD, "full_name": "Ada Lovelace"},
    )
    tokens = call("POST", f"{AUTH}/login", form={"username": email, "password": _PASSWORD})
    tokens = call("POST", f"{AUTH}/refresh", None, {"refresh_token": tokens["refresh_token"]})
    token = str(tokens["access_token"])
    call("GET", f"{AUTH}/me", token)
    call("PUT", f"{AUTH}/profile", token, {"full_name": "Ada King"})
    call("PUT", f"{AUTH}/preferences", token, {"theme": "dark", "language": "de"})
    call("POST", f"{AUTH}/email/verify/resend", None, {"email": email})
    call("POST", f"{AUTH}/email/verify", None, {"token": _mailed_token(email, "verify-email")})
    call("GET", f"{AUTH}/sessions", token)
    other = recorder.client.post(f"{AUTH}/login", data={"username": email, "password": _PASSWORD}).json()
    logins = recorder.client.get(f"{AUTH}/sessions", headers={"Authorization": f"Bearer {token}"}).json()["sessions"]
    call(
        "DELETE",
        AUTH + "/sessions/{session_id}",
        token,
        ids={"session_id": next(each["id"] for each in logins if not each["is_current"])},
    )
    other = _login(recorder, email, _PASSWORD)
    call("POST", f"{AUTH}/logout", other)
    new = "another horse battery staple"
    call("PUT", f"{AUTH}/password", token, {"current_password": _PASSWORD, "new_password": new})
    call("POST", f"{AUTH}/password/forgot", None, {"email": email})
    call(
        "POST",
        f"{AUTH}/password/reset",
        None,
        {"token": _mailed_token(email, "reset-password"), "new_password": _PASSWORD},
    )
    call("POST", f"{AUTH}/logout-all", _login(recorder, email, _PASSWORD))
    token = _login(recorder, email, _PASSWORD)
    key = call(
        "POST", f"{AUTH}/api-keys", token, {"name": "nightly report", "scopes": ["chat:read"], "expires_in_days": 90}
    )
    call("GET", f"{AUTH}/api-keys", token)
    call("DELETE", AUTH + "/api-keys/{key_id}", token, ids={"key_id": key["id"]})
    call("GET", f"{AUTH}/me/export", token)
    return token


def _record_conversations(recorder: Recorder, token: str, admin: str) -> None:
    call = recorder.call
    sessions, message = CHAT + "/sessions/{session_id}", CHAT + "/sessions/{session_id}/messages/{message_id}"
    call("GET", f"{CHAT}/models", token)
    call("POST", f"{CHAT}/direct", token, {"message": "Name one city in Portugal.", "max_tokens": 40})
    call("POST", f"{CHAT}/direct/stream", token, {"message": "Name one city in Spain.", "max_tokens": 12})
    created = call(
        "POST",
        f"{CHAT}/sessions",
        token,
        {"title": "Holiday plans", "context": {"tone": "casual"}},
        headers={"Idempotency-Key": f"session-{secrets.token_hex(4)}"},
    )
    ids = {"session_id": created["session_id"]}
    turn = call(
        "POST", sessions + "/messages", token, {"message": "Where is it warm in March?", "max_tokens": 60}, ids=ids
    )
    answer = {**ids, "message_id": turn["ai_response"]["id"]}
    call("POST", sessions + "/messages/stream", token, {"message": "And in April?", "max_tokens": 12}, ids=ids)
    call("GET", sessions + "/messages", token, query={"limit": 2}, ids=ids)
    call("GET", sessions, token, query={"message_limit": 1}, ids=ids)
    call("PATCH", sessions, token, {"is_pinned": True, "tags": ["Travel", "Italy"]}, ids=ids)
    call("GET", f"{CHAT}/sessions", token, query={"size": 1})
    call("POST", message + "/regenerate", token, {"max_tokens": 30}, ids=answer)
    call("POST", message + "/regenerate/stream", token, {"max_tokens": 8}, ids=answer)
    call("PUT", sessions + "/active", token, {"message_id": answer["message_id"]}, ids=ids)
    call("GET", message + "/events", token, query={"after": 0}, ids=answer)
    call("POST", message + "/cancel", token, ids=answer)
    call("GET", f"{CHAT}/active", token)
    call(
        "PUT",
        message + "/feedback",
        token,
        {"rating": "down", "reasons": ["inaccurate"], "comment": "Not in March."},
        ids=answer,
    )
    call("DELETE", message + "/feedback", token, ids=answer)
    call("GET", f"{CHAT}/search", token, query={"q": "warm", "limit": 1})
    call("GET", f"{CHAT}/usage", token)
    call("GET", f"{CHAT}/usage/days", token, query={"days": 2})
    call("GET", f"{CHAT}/quota", token)
    share = call("POST", sessions + "/share", token, {"expires_in_days": 30}, ids=ids)
    call("GET", sessions + "/share", token, ids=ids)
    call("GET", f"{CHAT}/shares", token)
    call("GET", CHAT + "/shared/{token}", ids={"token": share["token"]})
    call("POST", CHAT + "/shared/{token}/clone", token, ids={"token": share["token"]})
    call("DELETE", sessions + "/share", token, ids=ids)
    call("POST", sessions + "/duplicate", token, {"title": "Holiday plans 2"}, ids=ids)
    call("GET", sessions + "/export", token, query={"format": "md"}, ids=ids)
    exported = call("GET", f"{CHAT}/export", token)
    text = exported if isinstance(exported, str) else json.dumps(exported)
    imported = call("POST", f"{CHAT}/import", token, file=text.encode(), headers={"Content-Type": "application/json"})
    call("GET", CHAT + "/imports/{import_id}", token, ids={"import_id": imported["import_id"]})
    listed = recorder.client.get(f"{CHAT}/sessions", headers={"Authorization": f"Bearer {token}"}).json()["sessions"]
    others = [each["session_id"] for each in listed if each["session_id"] != ids["session_id"]]
    call("POST", f"{CHAT}/sessions/archive", token, {"session_ids": others[:1]})
    call("POST", f"{CHAT}/sessions/delete", token, {"session_ids": others[:1]})
    _record_admin_sessions(recorder, admin, answer)
    call("DELETE", message, token, ids=answer)
    call("DELETE", sessions, token, ids=ids)


def _example(path: str, response: httpx2.Response, *, auth: bool) -> dict[str, Any]:
    return {
        "path": path.replace("{token}", "AaIp9YzhdmGOjp06..."),
        "headers": {},
        "auth": auth,
        "form": False,
        "request": None,
        "status": response.status_code,
        "response": shorten(response.json()),
    }


def _record_openai(recorder: Recorder, token: str) -> None:
    models = recorder.call("GET", "/v1/models", token)
    recorder.call("GET", "/v1/models/{model_id}", token, ids={"model_id": models["data"][0]["id"]})
    messages = [{"role": "user", "content": "Name one city in Italy."}]
    recorder.call("POST", "/v1/chat/completions", token, {"messages": messages, "max_tokens": 30})


def _record_admin_sessions(recorder: Recorder, admin: str, answer: dict[str, str]) -> None:
    call = recorder.call
    path, ids = ADMIN + "/sessions/{session_id}", {"session_id": answer["session_id"]}
    call("GET", f"{ADMIN}/sessions", admin, query={"size": 1})
    call("GET", path, admin, query={"limit": 1}, ids=ids)
    call("POST", path + "/read", admin, {"reason": "Report 4711: wrong answer"}, ids=ids)
    call("POST", path + "/messages/{message_id}/cancel", admin, ids=answer)


def _record_administration(recorder: Recorder, admin: str, token: str, suffix: str) -> None:
    call = recorder.call
    user = recorder.client.get(f"{AUTH}/me", headers={"Authorization": f"Bearer {token}"}).json()["id"]
    call("GET", f"{AUTH}/admin/users", admin, query={"size": 1, "search": "ada"})
    call("GET", AUTH + "/admin/users/{user_id}", admin, ids={"user_id": user})
    call(
        "PUT",
        AUTH + "/admin/users/{user_id}",
        admin,
        {"is_verified": True, "full_name": "Ada King"},
        ids={"user_id": user},
    )
    call("POST", AUTH + "/admin/users/{user_id}/password-reset", admin, ids={"user_id": user})
    invitation = call(
        "POST", f"{AUTH}/admin/users", admin, {"email": f"grace.{suffix}@example.com", "full_name": "Grace Hopper"}
    )
    call("GET", f"{AUTH}/admin/invitations", admin)
    call("DELETE", AUTH + "/admin/invitations/{invitation_id}", admin, ids={"invitation_id": invitation["id"]})
    call("GET", ADMIN + "/users/{user_id}/quota", admin, ids={"user_id": user})
    call(
        "PUT",
        ADMIN + "/users/{user_id}/quota",
        admin,
        {"tokens_per_day": 200_000, "cost_per_month": "20"},
        ids={"user_id": user},
    )
    call("GET", ADMIN + "/users/{user_id}/usage", admin, ids={"user_id": user})
    call("GET", f"{ADMIN}/system", admin)
    call("GET", f"{ADMIN}/audit", admin, query={"limit": 1})
    call("GET", f"{ADMIN}/audit/export", admin, query={"format": "jsonl", "action": "login.opened"})
    call("GET", f"{ADMIN}/overview", admin)
    for name in ("usage", "latency", "errors", "feedback", "models", "users", "retention"):
        query: dict[str, str | int] = {"bucket": "week", "group_by": "model"} if name == "usage" else {}
        call("GET", f"{ADMIN}/analytics/{name}", admin, query=query)
    for name in ("overview", "usage", "latency", "errors", "feedback", "models", "users", "retention"):
        call("GET", f"{ADMIN}/reports/{name}.csv", admin)
    session = recorder.client.post(
        f"{CHAT}/sessions",
        json={"initial_message": "Hi", "max_tokens": 5},
        headers={"Authorization": f"Bearer {token}"},
    ).json()
    recorder.client.post(
        f"{CHAT}/sessions/{session['session_id']}/share", json={}, headers={"Authorization": f"Bearer {token}"}
    )
    shares = call("GET", f"{ADMIN}/shares", admin, query={"limit": 1})
    call("DELETE", ADMIN + "/shares/{share_id}", admin, ids={"share_id": shares["shares"][0]["id"]})
    call("DELETE", ADMIN + "/sessions/{session_id}", admin, ids={"session_id": session["session_id"]})
    _record_webhooks(recorder, admin)


def _record_webhooks(recorder: Recorder, admin: str) -> None:
    call, path = recorder.call, ADMIN + "/webhooks/{webhook_id}"
    created = call(
        "POST",
        f"{ADMIN}/webhooks",
        admin,
        {"url": "https://hooks.example.com/chat", "events": ["turn.completed", "turn.failed"]},
    )
    ids = {"webhook_id": created["id"]}
    call("GET", f"{ADMIN}/webhooks", admin)
    call("GET", path, admin, ids=ids)
    call("PATCH", path, admin, {"events": ["*"], "description": "billing"}, ids=ids)
    call("POST", path + "/secret", admin, {"grace_hours": 24}, ids=ids)
    call("POST", path + "/test", admin, ids=ids)
    delivery = call("GET", path + "/deliveries", admin, ids=ids)["deliveries"][0]["id"]
    call("GET", path + "/deliveries/{delivery_id}", admin, ids=ids | {"delivery_id": delivery})
    _redeliver(recorder, admin, path + "/deliveries/{delivery_id}/redeliver", ids | {"delivery_id": delivery})
    call("DELETE", path, admin, ids=ids)


def _redeliver(recorder: Recorder, admin: str, path: str, ids: dict[str, str]) -> None:
    """Request another delivery. A pending one is refused, so that is what is recorded until the attempts end."""
    response = recorder.client.post(path.format_map(ids), headers={"Authorization": f"Bearer {admin}"})
    recorder.examples[f"POST {path}"] = _example(path.format_map(ids), response, auth=True)


def _record_erasure(recorder: Recorder, admin: str, suffix: str) -> None:
    for number in (1, 2):
        body = {"email": f"e{number}.{suffix}@example.com", "username": f"e{number}-{suffix}", "password": _PASSWORD}
        account = recorder.client.post(f"{AUTH}/register", json=body).json()
        if number == 1:
            recorder.call("DELETE", f"{AUTH}/me", _login(recorder, body["email"], _PASSWORD), {"password": _PASSWORD})
        else:
            recorder.call("DELETE", AUTH + "/admin/users/{user_id}", admin, ids={"user_id": account["id"]})


def main() -> int:
    """Record the examples of the stack at the URL that is given, and write them."""
    examples = record(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080")
    EXAMPLES.parent.mkdir(exist_ok=True)
    EXAMPLES.write_text(json.dumps(dict(sorted(examples.items())), indent=1, ensure_ascii=False) + "\n")
    print(f"{len(examples)} operations")
    return 0


if __name__ == "__main__":
    sys.exit(main())

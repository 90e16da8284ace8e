"""Format, expiry and deletion of idempotency keys."""

import pytest

from app.database.repositories.turns import idempotency_keys
from app.database.repositories.turns.idempotency_keys import IdempotentRequest, StoredKey
from app.database.statements import AnyConnection
from tests.chat.idempotency.idempotent_requests import ROUTES, post, request_for
from tests.fixtures.database import Sql
from tests.fixtures.services import CHAT, Chat, assert_problem
from tests.support.provider import Provider, answers


@pytest.mark.parametrize(
    "keys",
    [[b""], [b"x" * 256], [b"with space"], ["schlüssel".encode()], [b"\x7f"], [b"one", b"two"], [b"same", b"same"]],
)
@pytest.mark.parametrize("path", ["/direct", "/sessions"])
def test_key_must_be_1_to_255_visible_ascii_characters(
    chat: Chat, provider: Provider, path: str, keys: list[bytes]
) -> None:
    body = {"message": "Hi"} if path == "/direct" else {}
    headers = [(b"Authorization", chat.user.headers["Authorization"].encode())]
    response = chat.client.post(
        f"{CHAT}{path}", json=body, headers=[*headers, *((b"Idempotency-Key", key) for key in keys)]
    )
    problem = assert_problem(response, 422, "validation_error")
    assert problem["errors"][0]["field"] == "header.Idempotency-Key"
    assert provider.calls == []
    assert post(chat, path, body, key="~!" + "x" * 253).is_success


@pytest.mark.parametrize("route", ROUTES)
def test_key_expires_after_24_hours(chat: Chat, sql: Sql, route: str) -> None:
    path, body = request_for(chat, route)
    first = post(chat, path, body)
    lifetime = sql.value("SELECT extract(epoch FROM expires_at - created_at)::integer FROM idempotency_keys")
    assert lifetime == 24 * 3600
    sql.do("UPDATE idempotency_keys SET expires_at = now()")
    second = post(chat, path, body | {"context": {"other": True}})
    assert second.is_success
    assert second.content != first.content
    assert "Idempotent-Replayed" not in second.headers
    assert_problem(post(chat, path, body), 422, "idempotency_key_reused")


def test_deleting_a_session_deletes_its_stored_responses(chat: Chat, provider: Provider, sql: Sql) -> None:
    provider.always(answers("canary"))
    created = post(chat, "/sessions", {"initial_message": "canary"})
    session = created.json()["session_id"]
    post(chat, f"/sessions/{session}/messages", {"message": "canary"})
    assert sql.value("SELECT count(*) FROM idempotency_keys WHERE position('canary' in response) > 0") == 2
    chat.request("DELETE", f"/sessions/{session}")
    assert sql.value("SELECT count(*) FROM idempotency_keys") == 0
    assert_problem(post(chat, f"/sessions/{session}/messages", {"message": "canary"}), 404, "not_found")


def test_deleting_a_user_deletes_their_keys(chat: Chat, sql: Sql) -> None:
    post(chat, "/direct", {"message": "Hi"})
    post(chat, "/sessions", {})
    sql.do("DELETE FROM users")
    assert sql.value("SELECT count(*) FROM idempotency_keys") == 0


def test_key_that_is_released_while_a_repeated_request_reads_it_is_claimed(
    chat: Chat, provider: Provider, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"message": "Hi"}
    assert post(chat, "/direct", body).is_success
    find = idempotency_keys.find

    async def release_and_find(connection: AnyConnection, key: IdempotentRequest) -> StoredKey | None:
        sql.do("DELETE FROM idempotency_keys")
        return await find(connection, key)

    monkeypatch.setattr(idempotency_keys, "find", release_and_find)
    again = post(chat, "/direct", body)
    assert again.is_success
    assert "Idempotent-Replayed" not in again.headers
    assert len(provider.calls) == 2

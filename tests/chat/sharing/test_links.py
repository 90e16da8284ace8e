"""Links to shared conversations: what readers see, invalid links, deletion, copies."""

import pytest

from tests.chat.sharing.links import contents, read, share
from tests.fixtures.database import Sql
from tests.fixtures.services import CHAT, Chat, User, assert_problem
from tests.support.provider import Provider, answers, echoes, fails

NOBODYS = "5f0c9d4e-2b1a-4c3d-8e7f-6a5b4c3d2e1f"


def test_link_shows_texts_roles_and_times_and_nothing_else(chat: Chat, session: str) -> None:
    shared = share(chat, session)
    response = read(chat.client, shared["token"])
    assert response.status_code == 200, response.text
    document = response.json()
    assert set(document) == {"title", "created_at", "expires_at", "messages"}
    assert (document["title"], document["expires_at"]) == ("Plans", None)
    stored = chat.request("GET", f"/sessions/{session}").json()["messages"]
    for message, original in zip(document["messages"], stored, strict=True):
        assert message.pop("model") is None
        assert message == {name: original[name] for name in ("role", "content", "status", "timestamp")}
    for secret in (chat.user.id, chat.user.username, "canary7f3a", session, *(message["id"] for message in stored)):
        assert secret not in response.text


def test_response_may_not_be_indexed_stored_or_referred_to(chat: Chat, session: str) -> None:
    token = share(chat, session)["token"]
    for path in (token, "invalid"):
        headers = read(chat.client, path).headers
        assert headers["X-Robots-Tag"] == "noindex, nofollow, noarchive"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"


def test_models_are_shown_only_if_the_owner_chose_it(chat: Chat, session: str) -> None:
    shared = share(chat, session, include_models=True)
    question, answer = read(chat.client, shared["token"]).json()["messages"]
    assert question["model"] is None
    assert answer["model"].startswith("gpt-primary")
    assert "gpt" not in read(chat.client, share(chat, session)["token"]).text


def test_snapshot_does_not_change_with_the_session(chat: Chat, session: str) -> None:
    token = share(chat, session)["token"]
    chat.ask(session, "And then?")
    assert contents(chat.client, token) == ["Hi", "Hello."]


def test_failed_answer_is_shown_as_failed(chat: Chat, provider: Provider) -> None:
    provider.script(fails(400), fails(400))
    session = chat.open()
    chat.ask(session, "Hi")
    messages = read(chat.client, share(chat, session)["token"]).json()["messages"]
    assert [message["status"] for message in messages] == ["complete", "failed"]


def test_revoked_link_does_not_work(chat: Chat, session: str, sql: Sql) -> None:
    token = share(chat, session)["token"]
    assert chat.request("DELETE", f"/sessions/{session}/share").json() == {"message": "Share revoked."}
    assert_problem(read(chat.client, token), 404, "not_found")
    assert sql.value("SELECT count(*) FROM chat_shares") == 0
    for method in ("GET", "DELETE"):
        assert_problem(chat.request(method, f"/sessions/{session}/share"), 404, "not_found")


def test_invalid_tokens_get_the_same_response(chat: Chat, session: str, sql: Sql, others_chat: Chat) -> None:
    other = chat.open()
    chat.ask(other, "Hi")
    token, revoked = share(chat, session)["token"], share(chat, other)["token"]
    chat.request("DELETE", f"/sessions/{other}/share")
    expired_session = chat.open()
    chat.ask(expired_session, "Hi")
    expired = share(chat, expired_session, expires_in_days=1)["token"]
    sql.do("UPDATE chat_shares SET expires_at = now() - interval '1 s' WHERE expires_at IS NOT NULL")
    edited = token[:30] + ("A" if token[30] != "A" else "B") + token[31:]
    spoiled = [
        revoked,
        expired,
        edited,
        token[:-1],
        token + "A",
        token + "=",
        token.swapcase(),
        token[:22] + expired[22:],
    ]
    guessed = [NOBODYS, "A" * 64, "x", "%00", "a" * 5000, "\u00e9" * 64]
    texts = set()
    for invalid in (*spoiled, *guessed):
        for response in (read(chat.client, invalid), others_chat.request("POST", f"/shared/{invalid}/clone")):
            problem = assert_problem(response, 404, "not_found")
            del problem["request_id"]
            texts.add(str(problem))
            assert response.headers["X-Robots-Tag"]
    assert len(texts) == 1
    assert contents(chat.client, token) == ["Hi", "Hello."]


def test_link_of_a_disabled_account_does_not_work_while_it_is_disabled(chat: Chat, session: str, sql: Sql) -> None:
    token = share(chat, session)["token"]
    sql.do("UPDATE users SET is_active = false")
    assert_problem(read(chat.client, token), 404, "not_found")
    sql.do("UPDATE users SET is_active = true")
    assert read(chat.client, token).status_code == 200


@pytest.mark.parametrize(
    "deletion",
    [
        "DELETE FROM chat_sessions",
        "DELETE FROM chat_messages WHERE role = 'assistant'",
        "DELETE FROM chat_messages WHERE seq = 1",
        "DELETE FROM users",
    ],
)
def test_deletion_of_session_message_or_account_deletes_the_text(
    chat: Chat, session: str, sql: Sql, deletion: str
) -> None:
    token = share(chat, session)["token"]
    assert "Hello." in sql.everything()["chat_shares"]
    sql.do(deletion)
    assert sql.everything()["chat_shares"] == ""
    assert_problem(read(chat.client, token), 404, "not_found")


def test_deleted_session_is_shared_no_longer(chat: Chat, session: str, sql: Sql) -> None:
    token = share(chat, session)["token"]
    assert chat.request("DELETE", f"/sessions/{session}").status_code == 200
    assert_problem(read(chat.client, token), 404, "not_found")
    assert "Hello." not in "".join(sql.everything().values())


def test_copy_is_a_session_of_the_viewer(chat: Chat, others_chat: Chat, session: str, provider: Provider) -> None:
    chat.ask(session, "And then?")
    token = share(chat, session, include_models=True)["token"]
    response = others_chat.request("POST", f"/shared/{token}/clone")
    assert response.status_code == 201, response.text
    copy = response.json()
    assert (copy["title"], copy["context"], copy["message_count"]) == ("Plans", {}, 4)
    stored = others_chat.request("GET", f"/sessions/{copy['session_id']}").json()
    original = chat.request("GET", f"/sessions/{session}").json()["messages"]
    for name in ("role", "content", "status", "timestamp"):
        assert [message[name] for message in stored["messages"]] == [message[name] for message in original]
    ids = [message["id"] for message in stored["messages"]]
    assert not set(ids) & {message["id"] for message in original}
    assert [message["parent_id"] for message in stored["messages"]] == [None, *ids[:-1]]
    assert stored["messages"][1]["metadata"] == {"model_used": original[1]["metadata"]["model_used"]}
    (listed,) = others_chat.request("GET", "/sessions").json()["sessions"]
    assert (listed["last_message_preview"], listed["message_count"]) == ("Hello.", 4)
    assert stored["usage"]["calls"] == 0
    provider.always(echoes())
    answer = others_chat.ask(copy["session_id"], "Go on")["ai_response"]["content"]
    assert "user: Hi" in answer  # the copied messages are the history of the next question
    assert chat.request("DELETE", f"/sessions/{session}").status_code == 200
    assert len(others_chat.request("GET", f"/sessions/{copy['session_id']}").json()["messages"]) == 6


def test_copy_needs_a_login(chat: Chat, session: str, ada: User) -> None:
    token = share(chat, session)["token"]
    assert_problem(chat.client.post(f"{CHAT}/shared/{token}/clone"), 401, "unauthorized")
    headers = {"Authorization": "Bearer invalid"}
    assert chat.client.get(f"{CHAT}/shared/{token}", headers=headers).status_code == 200


def test_only_the_shared_branch_is_shown(chat: Chat, session: str, provider: Provider) -> None:
    answer = chat.request("GET", f"/sessions/{session}").json()["messages"][1]["id"]
    provider.always(answers("One."))
    one = chat.ask(session, "First")["ai_response"]["id"]
    provider.always(answers("Two."))
    chat.ask(session, "Second", parent_id=answer)
    assert contents(chat.client, share(chat, session)["token"]) == ["Hi", "Hello.", "Second", "Two."]
    chosen = share(chat, session, message_id=one)
    assert contents(chat.client, chosen["token"]) == ["Hi", "Hello.", "First", "One."]
    chat.request("PUT", f"/sessions/{session}/active", json={"message_id": one})
    assert contents(chat.client, share(chat, session)["token"]) == ["Hi", "Hello.", "First", "One."]


def test_deletion_of_a_shared_message_deletes_the_share_and_of_another_one_does_not(chat: Chat, session: str) -> None:
    question, answer = chat.request("GET", f"/sessions/{session}").json()["messages"]
    later = chat.ask(session, "And then?")["user_message"]["id"]
    token = share(chat, session, message_id=answer["id"])["token"]
    assert chat.request("DELETE", f"/sessions/{session}/messages/{later}").status_code == 200
    assert contents(chat.client, token) == ["Hi", "Hello."]
    assert chat.request("DELETE", f"/sessions/{session}/messages/{question['id']}").status_code == 200
    assert_problem(read(chat.client, token), 404, "not_found")
    assert_problem(chat.request("POST", f"/sessions/{session}/share", json={}), 409, "empty_session")


def test_repeated_copy_with_an_idempotency_key_makes_one_copy(
    chat: Chat, others_chat: Chat, session: str, sql: Sql
) -> None:
    token = share(chat, session)["token"]
    path = f"/shared/{token}/clone"
    keyed = {"headers": {"Idempotency-Key": "a"}}
    first, again = (others_chat.request("POST", path, **keyed) for _ in range(2))
    assert (first.status_code, again.status_code, again.content) == (201, 201, first.content)
    assert (first.headers.get("Idempotent-Replayed"), again.headers["Idempotent-Replayed"]) == (None, "true")
    assert len(others_chat.request("GET", "/sessions").json()["sessions"]) == 1
    # Another body, another user, another link, and no key.
    assert_problem(others_chat.request("POST", path, json={"x": 1}, **keyed), 422, "idempotency_key_reused")
    assert chat.request("POST", path, **keyed).is_success
    other = chat.open()
    chat.ask(other, "Hi")
    assert others_chat.request("POST", f"/shared/{share(chat, other)['token']}/clone", **keyed).is_success
    assert others_chat.request("POST", path).is_success
    assert len(others_chat.request("GET", "/sessions").json()["sessions"]) == 3
    assert token not in "".join(sql.everything().values())

"""Any sequence of questions, edits, regenerations, selections, deletions and crashes keeps the message tree valid."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chat.sessions.branch_requests import messages_of, regenerate, send, sent_texts
from tests.fixtures.database import Sql
from tests.fixtures.services import Chat, User
from tests.support.provider import Provider, echoes

_SENT = 4
"""Messages that every prompt has, if the branch has as many: half of the history, with incomplete answers in it."""
VALID_TREE = """
SELECT count(*) FROM chat_messages AS message
LEFT JOIN chat_messages AS parent ON parent.id = message.parent_id
LEFT JOIN chat_messages AS jump ON jump.id = message.jump_id
WHERE message.depth <> coalesce(parent.depth, 0) + 1
    OR message.jump_depth <> coalesce(jump.depth, 0)
    OR (message.jump_id IS NOT NULL AND chat_message_ancestor(message.id, message.jump_depth) <> message.jump_id)
    OR (parent.id IS NOT NULL AND (parent.session_id <> message.session_id OR parent.seq >= message.seq))
    OR (message.role = 'assistant' AND coalesce(parent.role, '') <> 'user')
"""
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "send", "edit", "edit", "regenerate", "select", "delete", "crash"]),
        st.integers(0, 1000),
    ),
    min_size=1,
    max_size=16,
)


@dataclass
class Node:
    parent: str | None
    role: str
    text: str
    is_complete: bool = True


@dataclass
class ReferenceTree:
    """The message tree as a dictionary, in the order of creation."""

    nodes: dict[str, Node] = field(default_factory=dict)
    leaf: str | None = None

    def add(self, message: dict[str, Any], parent: str | None) -> None:
        complete = message["status"] == "complete"
        self.nodes[message["id"]] = Node(parent, message["role"], message["content"], complete)
        self.leaf = message["id"]

    def path(self, last: str | None) -> list[str]:
        path: list[str] = []
        while last is not None:
            path.insert(0, last)
            last = self.nodes[last].parent
        return path

    def texts(self, last: str | None) -> list[str]:
        """Return what the model is sent for a branch: without incomplete answers, questions in a row as one."""
        texts: list[str] = []
        roles: list[str] = []
        for node in (self.nodes[message] for message in self.path(last)):
            if node.is_complete and roles[-1:] == [node.role]:
                texts[-1] += f"\n\n{node.text}"
            elif node.is_complete:
                texts.append(node.text)
                roles.append(node.role)
        return texts

    def children(self, parent: str | None) -> list[str]:
        return [message for message, node in self.nodes.items() if node.parent == parent]

    def rename(self, message: str, new: str) -> None:
        self.nodes = {new if one == message else one: node for one, node in self.nodes.items()}
        for node in self.nodes.values():
            node.parent = new if node.parent == message else node.parent
        self.leaf = new if self.leaf == message else self.leaf

    def select(self, message: str | None) -> None:
        while children := self.children(message):
            message = children[-1]
        self.leaf = message

    def delete(self, message: str) -> int:
        below = [other for other in self.nodes if message in self.path(other)]
        parent = self.nodes[message].parent
        is_active = message in self.path(self.leaf)
        for other in below:
            del self.nodes[other]
        if is_active:
            self.select(parent)
        return len(below)


class Conversation:
    """Executes operations on a session and on the reference."""

    def __init__(self, chat: Chat, provider: Provider, sql: Sql) -> None:
        self.chat, self.provider, self.sql = chat, provider, sql
        self.session = chat.open()
        self.tree = ReferenceTree()
        self.count = 0

    def choose(self, number: int, *roles: str) -> str | None:
        candidates = [message for message, node in self.tree.nodes.items() if node.role in roles]
        return candidates[number % len(candidates)] if candidates else None

    def ask(self, *, parent: str | None, **place: object) -> None:
        self.count += 1
        turn = send(self.chat, self.session, f"Question {self.count}", **place)
        self.tree.add(turn["user_message"], parent)
        self.check_sent(turn["user_message"]["id"])
        self.tree.add(turn["ai_response"], turn["user_message"]["id"])

    def run(self, operation: str, number: int) -> None:
        match operation:
            case "send":
                self.ask(parent=self.tree.leaf)
            case "edit":
                answer = self.choose(number, "assistant") if number % 4 else None
                self.ask(parent=answer, parent_id=answer)
            case "regenerate":
                if (question := self.choose(number, "user")) is not None:
                    turn = regenerate(self.chat, self.session, question)
                    self.check_sent(question)
                    self.tree.add(turn["ai_response"], question)
            case "select":
                if (message := self.choose(number, "user", "assistant")) is not None:
                    self.tree.select(message)
                    path = f"/sessions/{self.session}/active"
                    assert self.chat.request("PUT", path, json={"message_id": message}).status_code == 200
            case "delete":
                if (message := self.choose(number, "user", "assistant")) is not None:
                    deleted = self.tree.delete(message)
                    response = self.chat.request("DELETE", f"/sessions/{self.session}/messages/{message}")
                    assert response.json() == {"deleted": deleted, "message_count": len(self.tree.nodes)}
            case _:
                self.crash(number)

    def check_sent(self, question: str) -> None:
        """Check that the model was sent the end of the branch: at least as much as fits the window."""
        sent, branch = sent_texts(self.provider), self.tree.texts(question)
        first, *others = sent
        assert others == branch[len(branch) - len(others) :]
        # Of questions in a row, which are sent as one, the first ones may be left out.
        assert branch[-len(sent)].endswith(first)
        assert len(sent) >= min(len(branch), _SENT)

    def crash(self, number: int) -> None:
        """Make an answer one whose process was killed. The next question in the session interrupts it."""
        if (answer := self.choose(number, "assistant")) is None:
            return
        # With another id, because the calls of this answer are in the ledger.
        renamed = self.sql.value(
            "UPDATE chat_messages SET uuid = gen_random_uuid(), status = 'pending', content = '',"
            " lease_expires_at = now() - interval '1 minute' WHERE uuid = %s RETURNING uuid::text",
            [answer],
        )
        self.tree.rename(answer, renamed)
        self.tree.nodes[renamed].is_complete = False
        self.tree.nodes[renamed].text = ""
        self.ask(parent=self.tree.leaf)

    def check(self) -> None:
        assert self.sql.value(VALID_TREE) == 0
        stored = self.sql.rows("SELECT message_count, last_seq FROM chat_sessions WHERE uuid = %s", [self.session])[0]
        assert stored["message_count"] == len(self.tree.nodes) <= stored["last_seq"]
        page = messages_of(self.chat, self.session, limit=200)
        path = self.tree.path(self.tree.leaf)
        assert [message["id"] for message in page["messages"]] == path
        assert [message["content"] for message in page["messages"]] == [self.tree.nodes[one].text for one in path]
        for message in page["messages"]:
            node = self.tree.nodes[message["id"]]
            versions = [one for one in self.tree.children(node.parent) if self.tree.nodes[one].role == node.role]
            assert message["siblings"]["ids"] == versions
            assert versions[message["siblings"]["index"]] == message["id"]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS)
def test_tree_counters_pages_and_history_equal_a_reference(
    chat: Chat, provider: Provider, sql: Sql, operations: list[tuple[str, int]]
) -> None:
    provider.always(echoes())
    conversation = Conversation(chat, provider, sql)
    for operation, number in operations:
        conversation.run(operation, number)
        conversation.check()


@pytest.mark.parametrize("depth", [1, 2, 3, 10, 100, 1000])
def test_every_ancestor_is_found(sql: Sql, ada: User, depth: int) -> None:
    sql.do(
        "WITH made AS (INSERT INTO chat_sessions (uuid, user_id, title, last_seq, message_count)"
        " SELECT gen_random_uuid(), id, '', %s, %s FROM users WHERE username = %s RETURNING id)"
        " INSERT INTO chat_messages (uuid, session_id, seq, role, content, status)"
        " SELECT gen_random_uuid(), id, n, CASE n %% 2 WHEN 1 THEN 'user' ELSE 'assistant' END, '', 'complete'"
        " FROM made, generate_series(1, %s) AS n",
        [depth, depth, ada.username, depth],
    )
    wrong = sql.value(
        "SELECT count(*) FROM chat_messages AS message JOIN chat_messages AS last ON last.depth = %s"
        " WHERE chat_message_ancestor(last.id, message.depth) IS DISTINCT FROM message.id",
        [depth],
    )
    assert wrong == 0

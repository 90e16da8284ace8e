"""The tree of a ChatGPT conversation: its nodes, and the questions and answers that they become."""

import heapq
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from app.chat.transfer.formats.imported_session import (
    MAX_MESSAGES,
    MAX_SESSION_SIZE,
    MAX_TEXT_LENGTH,
    ImportedMessage,
    LeftOut,
    SessionRefusedError,
)

PARTS_SEPARATOR = "\n\n"
"""Between the parts of a message, and between the messages that become one answer."""


@dataclass(slots=True)
class Node:
    """A node of the mapping."""

    index: int
    """Position in the file."""
    parent: int | None
    children: list[int] = field(default_factory=list)
    role: Literal["user", "assistant"] | None = None
    """None: the node is left out."""
    text: str = ""
    """For a part of an answer, with the parts before it."""
    time: float | None = None
    model: str | None = None
    nearest_imported: int | None = None
    """The nearest node that is imported, from this one to the root."""
    question: int | None = None
    """Index of the question in the session, if the node is a part of its answer."""
    message: int | None = None
    """Index of the message in the session. None: the node is left out, or a part of an answer that goes on."""


def sort_by_time(nodes: list[Node]) -> list[int]:
    """Return all nodes, parents before their children, and by time otherwise.

    Raises:
        SessionRefusedError: nodes form a cycle.

    """
    ready: list[tuple[float, int]] = []
    for node in nodes:
        if node.parent is None:
            heapq.heappush(ready, (node.time or 0.0, node.index))
    order = []
    while ready:
        time, index = heapq.heappop(ready)
        order.append(index)
        for child in nodes[index].children:
            heapq.heappush(ready, (max(nodes[child].time or time, time), child))
    if len(order) < len(nodes):
        reached = set(order)
        unreached = next(node.index for node in nodes if node.index not in reached)
        raise SessionRefusedError("cycle", f"mapping[{unreached}]")
    return order


@dataclass(slots=True)
class TreeBuilder:
    """Makes questions and answers of the nodes that are imported."""

    nodes: list[Node]
    left_out: list[LeftOut]
    created_at: datetime
    now: datetime
    current: int | None
    """The node that ChatGPT shows last."""
    messages: list[ImportedMessage] = field(default_factory=list)
    size: int = 0

    def build(self, order: list[int]) -> list[ImportedMessage]:
        """Return the messages of nodes that are listed in the order of `sort_by_time`.

        Raises:
            SessionRefusedError: there are too many messages, or their texts are too long.

        """
        followers = self._find_followers(order)
        shown = None if self.current is None else self.nodes[self.current].nearest_imported
        for index in order:
            node = self.nodes[index]
            above = self._above(node)
            if node.role == "user":
                node.message = self._append(node, None if above is None else above.message)
            elif node.role == "assistant" and above is not None:
                self._extend_answer(node, above)
                if followers[index] != {"assistant"} or index == shown:
                    node.message = self._append(node, node.question)
        if len(self.messages) > MAX_MESSAGES:
            raise SessionRefusedError("session_too_large", "mapping")
        return self.messages

    def active(self) -> int | None:
        """Return the index of the last message of the branch that ChatGPT shows. None: the newest message."""
        nearest_imported = None if self.current is None else self.nodes[self.current].nearest_imported
        active = None if nearest_imported is None else self.nodes[nearest_imported].message
        return None if active == len(self.messages) - 1 else active

    def _find_followers(self, order: list[int]) -> dict[int, set[str]]:
        """Set `nearest_imported` of all nodes, and return the roles of the nodes that follow each imported node."""
        followers: dict[int, set[str]] = {}
        for index in order:
            node = self.nodes[index]
            above = self._above(node)
            if node.role == "assistant" and above is None:
                self.left_out.append(LeftOut(f"mapping[{index}]", "answer_without_question"))
                node.role = None
            node.nearest_imported = index if node.role else None if above is None else above.index
            if node.role:
                followers[index] = set()
                if above is not None:
                    followers[above.index].add(node.role)
        return followers

    def _above(self, node: Node) -> Node | None:
        nearest_imported = None if node.parent is None else self.nodes[node.parent].nearest_imported
        return None if nearest_imported is None else self.nodes[nearest_imported]

    def _extend_answer(self, node: Node, above: Node) -> None:
        if above.role == "user":
            node.question = above.message
        else:
            node.question = above.question
            node.text = f"{above.text}{PARTS_SEPARATOR}{node.text}"
            node.model = node.model or above.model
        if len(node.text) > MAX_TEXT_LENGTH:
            raise SessionRefusedError("text_too_long", f"mapping[{node.index}]")
        # Each part of an answer has the text of those before it, and several answers may share them.
        self.size += len(node.text)
        if self.size > MAX_SESSION_SIZE:
            raise SessionRefusedError("session_too_large", "mapping")

    def _append(self, node: Node, parent: int | None) -> int:
        assert node.role is not None  # noqa: S101 - nodes that are left out have no message
        if node.time is not None:
            created_at = instant(node.time, self.now)
        else:
            created_at = self.created_at if parent is None else self.messages[parent].created_at
        self.messages.append(
            ImportedMessage(
                parent=parent,
                role=node.role,
                content=node.text,
                status="complete",
                created_at=created_at,
                meta={"model_used": node.model} if node.model and node.role == "assistant" else {},
            )
        )
        return len(self.messages) - 1


def instant(time: float | None, now: datetime) -> datetime:
    """Return a time in seconds since 1970 as a `datetime`, but none that is missing or later than `now`."""
    return now if time is None else min(datetime.fromtimestamp(time, UTC), now)

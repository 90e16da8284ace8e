"""Model-based test: links agree with a small model in every order of operations."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chat.sharing.links import contents, read, share
from tests.fixtures.services import Chat, assert_problem
from tests.support.provider import Provider, answers

SESSIONS = 2
OPERATION = st.tuples(
    st.sampled_from(["ask", "share", "share", "share and keep the link", "revoke", "edit", "delete messages"]),
    st.integers(0, SESSIONS - 1),
)


@dataclass
class Model:
    """A session, and what its link must show."""

    session: str
    branch: list[tuple[str, str]] = field(default_factory=list)
    """Question and its id, of each turn of the active branch."""
    ends: list[str] = field(default_factory=list)
    """Ids of the answers of the turns."""
    link: str | None = None
    shown: list[str] = field(default_factory=list)
    shared_turns: list[str] = field(default_factory=list)
    """Ids of the shared questions."""
    links: set[str] = field(default_factory=set)
    """All links so far."""

    def show(self, link: str) -> None:
        """Remember what a new snapshot shows."""
        self.link = link
        self.links.add(link)
        self.shown = [text for question, _ in self.branch for text in (question, "Yes.")]
        self.shared_turns = [message for _, message in self.branch]


def ask(chat: Chat, model: Model, text: str, **options: Any) -> None:  # noqa: ANN401 - JSON
    turn = chat.ask(model.session, text, **options)
    model.branch.append((text, turn["user_message"]["id"]))
    model.ends.append(turn["ai_response"]["id"])


def perform(chat: Chat, model: Model, operation: str, step: int) -> None:
    """Perform an operation on a session and its model."""
    match operation:
        case "ask":
            ask(chat, model, f"question {step}")
        case "edit" if model.branch:
            parent = model.ends[-2] if len(model.ends) > 1 else None
            del model.branch[-1], model.ends[-1]
            ask(chat, model, f"edited {step}", parent_id=parent)
        case "share" | "share and keep the link" if model.branch:
            token = share(chat, model.session, keep_link=operation != "share")["token"]
            if model.link is not None:
                assert (token == model.link) == (operation != "share")
            model.show(token)
        case "revoke":
            response = chat.request("DELETE", f"/sessions/{model.session}/share")
            assert response.status_code == (404 if model.link is None else 200)
            model.link = None
        case "delete messages" if model.branch:
            deleted = model.branch[step % len(model.branch)][1]
            assert chat.request("DELETE", f"/sessions/{model.session}/messages/{deleted}").status_code == 200
            if deleted in model.shared_turns:
                model.link = None
            # The active branch then continues in another version, if there is one.
            stored = chat.request("GET", f"/sessions/{model.session}").json()["messages"]
            model.branch = [(one["content"], one["id"]) for one in stored if one["role"] == "user"]
            model.ends = [one["id"] for one in stored if one["role"] == "assistant"]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=st.lists(OPERATION, max_size=14))
def test_links_show_the_branch_at_the_time_of_sharing(
    chat: Chat, provider: Provider, operations: list[tuple[str, int]]
) -> None:
    provider.always(answers("Yes."))
    models = [Model(chat.open()) for _ in range(SESSIONS)]
    for step, (operation, number) in enumerate(operations):
        perform(chat, models[number], operation, step)
        for model in models:
            if model.link is not None:
                assert contents(chat.client, model.link) == model.shown
    valid = {model.link for model in models if model.link is not None}
    invalid = set().union(*(model.links for model in models)) - valid
    for token in invalid:
        assert_problem(read(chat.client, token), 404, "not_found")
    listed = {one["token"] for one in chat.request("GET", "/shares?size=100").json()["shares"]}
    assert listed >= valid
    assert not listed & invalid

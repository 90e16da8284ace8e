"""A summary covers the messages that its prompt contained, and no others."""

import re
from collections.abc import Callable
from dataclasses import replace

from app.graph.ports.chat_model import Sampling
from tests.chat.summaries.summary_sessions import POLICY, Session, SummarizingModel, stored_summary
from tests.fixtures.database import Sql


async def test_messages_cut_from_the_prompt_of_a_summary_are_not_covered(
    open_session: Callable[..., Session], model: SummarizingModel, sql: Sql
) -> None:
    # The model's summary is short, and a batch of four messages does not fit its prompt.
    model.summarize = lambda _messages: "- digest"
    policy = replace(POLICY, context_windows={"primary": 900}, sampling=Sampling(max_tokens=100))
    session = open_session(policy)
    covered_before = 0
    seen: set[int] = set()
    sizes: list[int] = []
    for number in range(1, 9):
        await session.ask(f"Marker{number}. " + "And so on. " * 80)
        await session.wait_for_summaries()
        for request in model.summary_requests[len(sizes) :]:
            messages = str(request.messages[-1]["content"])
            sizes.append(len(re.findall(r"^(?:User|Assistant): ", messages, re.MULTILINE)))
            seen |= {int(found) for found in re.findall(r"Marker(\d+)\.", messages)}
        _, covered, _ = stored_summary(sql)
        # Depth 2n - 1 is the nth question.
        assert seen == set(range(1, (covered + 1) // 2 + 1))
        assert covered >= covered_before
        covered_before = covered
    assert covered_before > 0
    assert min(sizes) < 4

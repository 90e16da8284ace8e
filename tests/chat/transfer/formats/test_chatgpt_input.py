"""Hostile conversations of a ChatGPT export."""

from hypothesis import given
from hypothesis import strategies as st

from app.chat.transfer.formats.imported_session import SessionRefusedError
from tests.chat.transfer.files import JSON_VALUES
from tests.chat.transfer.formats.test_chatgpt import ROLES, read

MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "author": st.fixed_dictionaries({}, optional={"role": ROLES | JSON_VALUES}) | JSON_VALUES,
        "create_time": JSON_VALUES,
        "content": st.fixed_dictionaries(
            {}, optional={"content_type": st.just("text") | JSON_VALUES, "parts": st.lists(st.text()) | JSON_VALUES}
        )
        | JSON_VALUES,
        "recipient": st.just("all") | JSON_VALUES,
        "metadata": st.fixed_dictionaries({}, optional={"model_slug": JSON_VALUES}) | JSON_VALUES,
    },
)


@given(
    st.dictionaries(
        st.sampled_from("abc"),
        st.fixed_dictionaries(
            {}, optional={"parent": st.sampled_from("abc") | JSON_VALUES, "message": MESSAGES | JSON_VALUES}
        )
        | JSON_VALUES,
    )
    | JSON_VALUES,
    JSON_VALUES,
)
def test_whatever_the_file_holds_is_read_or_refused(mapping: object, other: object) -> None:
    try:
        read(mapping, title=other, create_time=other, update_time=other, current_node=other, is_archived=other)
    except SessionRefusedError as refusal:
        reason = refusal.reason
    else:
        reason = "invalid"
    assert reason in {"invalid", "missing_parent", "cycle", "empty"}

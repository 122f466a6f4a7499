"""Tests for L{burrow.server.nodes.boxes}."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burrow.errors import WireError
from burrow.mux.control import encode_box
from burrow.server.nodes.boxes import MAX_HOPS, AgentBox, RefreshBox, VisitorBox, decode

TEXTS = st.text(max_size=50)


@given(
    st.one_of(
        st.builds(VisitorBox, TEXTS, TEXTS, TEXTS, st.integers(1, 9)),
        st.builds(AgentBox, TEXTS),
        st.just(RefreshBox()),
    ),
    st.binary(max_size=20),
    st.data(),
)
def test_what_is_written_is_read(box, rest, data):
    whole = box.encode()
    read = decode(whole + rest)
    assert read == (box, rest)
    assert type(read[0]) is type(box)
    assert decode(whole[: data.draw(st.integers(0, len(whole) - 1))]) is None


def test_boxes_of_other_releases():
    """Fields that are missing or unknown do no harm; a hop that is not counted is the last one."""
    box, rest = decode(encode_box({"what": "visitor", "tunnel": "blog", "color": "red"}) + b"x")
    assert box == VisitorBox("blog", "", "", MAX_HOPS)
    assert rest == b"x"


@pytest.mark.parametrize("box", [{"what": "x"}, {}, {"what": "visitor", "hops": "x"}])
def test_boxes_that_cannot_be_used(box):
    with pytest.raises(WireError):
        decode(encode_box({**box, "tunnel": "blog"}))

"""Tests for L{burrow.server.nodes.boxes}."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burrow.errors import WireError
from burrow.mux.control import encode_box
from burrow.server.nodes.boxes import MAX_HOPS, AgentBox, RefreshBox, VisitorBox, decode
from burrow.wire.windows import INITIAL_WINDOW

TEXTS = st.text(max_size=50)


@given(
    st.one_of(
        st.builds(VisitorBox, TEXTS, TEXTS, TEXTS, st.integers(1, 9), TEXTS, st.integers(1, INITIAL_WINDOW)),
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


def test_a_usual_window_is_not_told():
    assert b"window" not in VisitorBox("blog", "", "", 1).encode()
    assert b"window" in VisitorBox("blog", "", "", 1, window=7).encode()


@pytest.mark.parametrize(
    "box", [{"what": "x"}, {}, {"what": "visitor", "hops": "x"}, {"what": "visitor", "window": "0"}]
)
def test_boxes_that_cannot_be_used(box):
    with pytest.raises(WireError):
        decode(encode_box({**box, "tunnel": "blog"}))

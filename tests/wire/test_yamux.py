"""Tests for L{burrow.wire.yamux}: by example, and two sessions against each other at random."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burrow.errors import StreamGone, WireError
from burrow.wire import yamux
from burrow.wire.backlog import MAX_UNACKED
from burrow.wire.events import (
    DataReceived,
    GoAwayReceived,
    PongReceived,
    StreamAccepted,
    StreamEnded,
    StreamOpened,
    StreamReset,
)
from burrow.wire.frames import ACK, DATA, FIN, GO_AWAY, PING, RST, SYN, WINDOW_UPDATE, GoAwayCode, encode
from burrow.wire.pacing import MAX_FRAME
from burrow.wire.resume import ACK_EVERY, REPLAY_LIMIT
from burrow.wire.stream import LOW_WATER
from burrow.wire.windows import INITIAL_WINDOW, MAX_WINDOW, SESSION_BUDGET
from burrow.wire.yamux import MAX_ANSWERS
from tests.wire.by_id import Yamux


@pytest.fixture
def agent():
    return Yamux(client=True)


@pytest.fixture
def server():
    return Yamux(client=False)


def opened(one, other):
    """A stream opened by C{one} and accepted by C{other}."""
    stream_id = one.open_stream()
    assert other.receive_data(one.pull(1 << 20)) == [StreamOpened(stream_id)]
    assert one.receive_data(other.pull(1 << 20)) == [StreamAccepted(stream_id)]
    return stream_id


def test_ids_are_odd_for_the_agent_and_even_for_the_server(agent, server):
    assert [agent.open_stream(), agent.open_stream()] == [1, 3]
    assert [server.open_stream(), server.open_stream()] == [2, 4]


def test_syn_travels_with_the_first_bytes(agent):
    stream_id = agent.open_stream()
    agent.send_data(stream_id, b"hi")
    assert agent.pull(1 << 20) == encode(DATA, SYN, 1, 2) + b"hi"


def test_ack_is_sent_before_there_is_anything_to_say(server):
    server.receive_data(encode(WINDOW_UPDATE, SYN, 1, 0))
    assert server.pull(1 << 20) == encode(WINDOW_UPDATE, ACK, 1, 0)


def test_syns_may_come_out_of_order(server):
    assert server.receive_data(encode(WINDOW_UPDATE, SYN, 5, 0) + encode(WINDOW_UPDATE, SYN, 1, 0)) == [
        StreamOpened(5),
        StreamOpened(1),
    ]


def test_small_frames_beside_bulk_are_told(agent, server):
    bulk, small = opened(agent, server), opened(agent, server)
    for sent, shared in (((bulk,), False), ((bulk, small), True), ((small,), False)):
        for stream_id in sent:
            agent.send_data(stream_id, b"x" * (6 * MAX_FRAME if stream_id == bulk else 1))
        agent.pull(1 << 20)
        assert agent.shared == shared
    agent.send_data(bulk, b"x" * 4 * MAX_FRAME)
    agent.end_stream(small)  # no more comes from it
    agent.pull(1 << 20)
    assert not agent.shared


def test_the_rest_of_bulk_is_no_small_stream(agent, server):
    """Nor is it so once pulls have become short, else they would stay so."""
    streams = [opened(agent, server) for _ in range(8)]
    for pull in (1 << 20, 32 * 1024):
        for stream_id in streams:
            agent.send_data(stream_id, b"x" * (MAX_FRAME + 1))
        while agent.pull(pull):
            assert not agent.shared
    agent.send_data(streams[0], b"x")
    agent.send_data(streams[1], b"x" * (6 * MAX_FRAME))
    agent.pull(1 << 20)
    assert agent.shared


def test_write_has_ended_once_the_fin_is_out(agent, server):
    stream_id = opened(agent, server)
    agent.send_data(stream_id, b"x")
    agent.end_stream(stream_id)
    assert not agent.write_ended(stream_id)
    agent.pull(1 << 20)
    assert agent.write_ended(stream_id)


def test_half_close_lets_the_other_half_live(agent, server):
    stream_id = opened(agent, server)
    agent.send_data(stream_id, b"question")
    agent.end_stream(stream_id)
    assert server.receive_data(agent.pull(1 << 20)) == [
        DataReceived(stream_id, b"question"),
        StreamEnded(stream_id),
    ]
    with pytest.raises(StreamGone):
        agent.send_data(stream_id, b"more")
    server.send_data(stream_id, b"answer")
    server.end_stream(stream_id)
    assert agent.receive_data(server.pull(1 << 20)) == [
        DataReceived(stream_id, b"answer"),
        StreamEnded(stream_id),
    ]
    assert agent.stream_count == server.stream_count == 0


def test_reset_drops_what_is_queued(agent, server):
    stream_id = opened(agent, server)
    agent.send_data(stream_id, b"never")
    agent.reset_stream(stream_id)
    assert server.receive_data(agent.pull(1 << 20)) == [StreamReset(stream_id)]
    assert agent.stream_count == server.stream_count == 0


def test_broken_stream_delivers_what_it_has_then_resets(agent, server):
    stream_id = opened(agent, server)
    agent.send_data(stream_id, bytes(MAX_FRAME + 1))
    agent.break_stream(stream_id)
    agent.break_stream(stream_id)
    assert server.receive_data(agent.pull(1 << 20)) == [
        DataReceived(stream_id, bytes(MAX_FRAME)),
        DataReceived(stream_id, b"\0"),
        StreamReset(stream_id),
    ]
    assert agent.stream_count == server.stream_count == 0


def test_stream_broken_when_nothing_is_queued(agent, server):
    first, second = opened(agent, server), opened(agent, server)
    agent.break_stream(first)
    agent.end_stream(second)
    agent.pull(0)
    server.receive_data(agent.pull(1 << 20))
    agent.break_stream(second)
    assert server.receive_data(agent.pull(1 << 20)) == [StreamReset(second)]
    assert agent.stream_count == server.stream_count == 0


def test_stream_reset_before_its_syn_was_sent_leaves_no_trace(agent):
    stream_id = agent.open_stream()
    agent.send_data(stream_id, b"never")
    agent.reset_stream(stream_id)
    assert agent.pull(1 << 20) == b""


def test_frames_that_cross_a_reset_are_dropped(agent, server):
    stream_id = opened(agent, server)
    agent.reset_stream(stream_id)
    server.send_data(stream_id, b"crossing")
    server.end_stream(stream_id)
    assert agent.receive_data(server.pull(1 << 20)) == []
    assert server.receive_data(agent.pull(1 << 20)) == [StreamReset(stream_id)]


def test_window_stops_the_sender_until_the_reader_has_read(agent, server):
    stream_id = opened(agent, server)
    agent.send_data(stream_id, bytes(INITIAL_WINDOW + 10))
    events = server.receive_data(agent.pull(1 << 30))
    assert sum(len(event.data) for event in events) == INITIAL_WINDOW
    assert agent.pull(1 << 30) == b""
    server.consumed(stream_id, INITIAL_WINDOW, 0.0)
    agent.receive_data(server.pull(1 << 20))
    assert server.receive_data(agent.pull(1 << 30)) == [DataReceived(stream_id, bytes(10))]


def test_fin_waits_for_the_window_too(agent, server):
    stream_id = opened(agent, server)
    agent.send_data(stream_id, bytes(INITIAL_WINDOW + 1))
    agent.end_stream(stream_id)
    assert StreamEnded(stream_id) not in server.receive_data(agent.pull(1 << 30))
    server.consumed(stream_id, INITIAL_WINDOW, 0.0)
    agent.receive_data(server.pull(1 << 20))
    assert server.receive_data(agent.pull(1 << 30))[-1] == StreamEnded(stream_id)


def test_peer_that_exceeds_its_window_breaks_the_protocol(server):
    server.receive_data(encode(WINDOW_UPDATE, SYN, 1, 0))
    with pytest.raises(WireError):
        server.receive_data(encode(DATA, 0, 1, INITIAL_WINDOW + 1) + bytes(INITIAL_WINDOW + 1))
    assert server.pull(1 << 20).startswith(encode(GO_AWAY, 0, 0, GoAwayCode.PROTOCOL_ERROR))


@pytest.mark.parametrize(
    "wire",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        encode(WINDOW_UPDATE, SYN, 2, 0),
        encode(WINDOW_UPDATE, SYN, 0, 0),
        encode(WINDOW_UPDATE, SYN, 1, 0) * 2,
        encode(DATA, 0, 0, 1) + b"x",
        encode(DATA, SYN | FIN, 1, 1) + b"x" + encode(DATA, 0, 1, 1) + b"y",
        encode(WINDOW_UPDATE, SYN, 1, 2**32 - 1),
        encode(PING, SYN, 0, 1) * (MAX_ANSWERS + 1),
    ],
)
def test_breaches_end_the_session_with_go_away(server, wire):
    with pytest.raises(WireError):
        server.receive_data(wire)
    assert encode(GO_AWAY, 0, 0, GoAwayCode.PROTOCOL_ERROR) in server.pull(1 << 30)


def test_data_for_a_stream_never_opened_gets_a_reset(server):
    assert server.receive_data(encode(DATA, 0, 77, 3) + b"abc") == []
    assert server.pull(1 << 20) == encode(WINDOW_UPDATE, RST, 77, 0)
    assert server.receive_data(encode(WINDOW_UPDATE, 0, 79, 3)) == []
    assert not any(server.output)


def test_streams_beyond_the_limit_are_refused_and_the_rest_goes_on():
    server = Yamux(client=False, max_streams=1)
    assert server.receive_data(encode(WINDOW_UPDATE, SYN, 1, 0) + encode(WINDOW_UPDATE, SYN, 3, 0)) == [
        StreamOpened(1)
    ]
    assert encode(WINDOW_UPDATE, RST, 3, 0) in server.pull(1 << 20)
    assert server.receive_data(encode(DATA, FIN, 1, 2) + b"ok") == [DataReceived(1, b"ok"), StreamEnded(1)]


def test_no_more_than_the_backlog_waits_for_its_ack(agent, server):
    ids = [agent.open_stream() for _ in range(MAX_UNACKED + 5)]
    for stream_id in ids:
        agent.send_data(stream_id, b"x")
    first = server.receive_data(agent.pull(1 << 20))
    assert sum(isinstance(event, StreamOpened) for event in first) == MAX_UNACKED
    agent.receive_data(server.pull(1 << 20))
    rest = server.receive_data(agent.pull(1 << 20))
    assert sum(isinstance(event, StreamOpened) for event in rest) == 5


def test_resets_make_room_in_the_backlog(agent):
    ids = [agent.open_stream() for _ in range(MAX_UNACKED + 1)]
    agent.pull(1 << 20)
    agent.reset_stream(ids[0])
    assert encode(WINDOW_UPDATE, SYN, ids[-1], 0) in agent.pull(1 << 20)


def opened_in(events):
    return [event.stream_id for event in events if isinstance(event, StreamOpened)]


def test_an_ack_says_that_all_before_it_were_taken():
    agent = Yamux(client=True)
    ids = [agent.open_stream() for _ in range(MAX_UNACKED + 300)]
    server = Yamux(client=False)
    assert opened_in(server.receive_data(agent.pull(1 << 20))) == ids[:MAX_UNACKED]
    assert agent.backlog.waiting
    # The first 99 are slow, and their peer acknowledges with its first byte.
    agent.receive_data(encode(WINDOW_UPDATE, ACK, ids[99], 0))
    assert opened_in(server.receive_data(agent.pull(1 << 20))) == ids[MAX_UNACKED : MAX_UNACKED + 100]
    assert agent.backlog.progress == 1
    agent.receive_data(encode(WINDOW_UPDATE, ACK, ids[98], 0))
    assert not any(agent.output)
    assert agent.backlog.progress == 1


def test_a_peer_that_uses_a_stream_has_taken_it(agent):
    first, second = agent.open_stream(), agent.open_stream()
    agent.pull(1 << 20)
    assert agent.receive_data(encode(DATA, 0, first, 1) + b"x") == [
        StreamAccepted(first),
        DataReceived(first, b"x"),
    ]
    assert agent.receive_data(encode(WINDOW_UPDATE, RST, second, 0)) == [StreamReset(second)]


def test_streams_presumed_to_be_taken_are_those_whose_syn_is_out(agent):
    ids = [agent.open_stream() for _ in range(2 * MAX_UNACKED + 1)]
    agent.presume_taken()
    assert agent.pull(12 * 200).count(b"\0\1\0\1") == 200
    agent.presume_taken()
    assert opened_in(Yamux(client=False).receive_data(agent.pull(1 << 20))) == ids[200 : 200 + MAX_UNACKED]
    assert agent.backlog.waiting


def test_delayed_stream_that_is_reset_leaves_no_trace(agent):
    ids = [agent.open_stream() for _ in range(MAX_UNACKED + 2)]
    agent.send_data(ids[-2], b"never")
    agent.reset_stream(ids[-2])
    agent.end_stream(ids[-1])
    agent.pull(1 << 20)
    agent.receive_data(encode(WINDOW_UPDATE, ACK, ids[0], 0))
    assert agent.pull(1 << 20) == encode(WINDOW_UPDATE, SYN, ids[-1], 0) + encode(
        WINDOW_UPDATE, FIN, ids[-1], 0
    )


def test_peer_cannot_use_a_stream_before_its_syn(agent):
    stream_id = agent.open_stream()
    assert agent.receive_data(encode(DATA, ACK, stream_id, 1) + b"x") == []
    assert agent.receive_data(encode(WINDOW_UPDATE, RST, stream_id, 0)) == []
    assert agent.pull(1 << 20) == encode(WINDOW_UPDATE, SYN, stream_id, 0)


def test_ping_is_answered_and_its_answer_told(agent, server):
    opaque = agent.ping()
    server.receive_data(agent.pull(1 << 20))
    assert agent.receive_data(server.pull(1 << 20)) == [PongReceived(opaque)]


def test_after_go_away_no_stream_is_opened_and_open_ones_go_on(agent, server):
    stream_id = opened(agent, server)
    server.go_away(GoAwayCode.NORMAL)
    assert agent.receive_data(server.pull(1 << 20)) == [GoAwayReceived(0)]
    with pytest.raises(StreamGone):
        agent.open_stream()
    agent.send_data(stream_id, b"still")
    assert server.receive_data(agent.pull(1 << 20)) == [DataReceived(stream_id, b"still")]
    assert server.receive_data(encode(WINDOW_UPDATE, SYN, 99, 0)) == []
    assert server.pull(1 << 20) == encode(WINDOW_UPDATE, RST, 99, 0)


def test_go_away_resets_what_was_not_taken(agent, server):
    taken = opened(agent, server)
    waiting = agent.open_stream()
    agent.pull(1 << 20)
    unsent = agent.open_stream()
    agent.send_data(unsent, b"never")
    assert agent.receive_data(encode(GO_AWAY, 0, 0, 0)) == [
        GoAwayReceived(0),
        StreamReset(waiting),
        StreamReset(unsent),
    ]
    assert agent.pull(1 << 20) == encode(WINDOW_UPDATE, RST, waiting, 0)
    assert agent.stream_count == 1
    assert agent.receive_data(encode(GO_AWAY, 0, 0, 0)) == []
    assert agent.receive_data(encode(GO_AWAY, 0, 0, 2)) == [GoAwayReceived(2)]
    assert agent.send_data(taken, b"x") == 1


def test_go_away_comes_behind_the_acks_of_what_we_took_and_before_all_else(agent, server):
    taken = agent.open_stream()
    agent.send_data(taken, b"question")
    server.receive_data(agent.pull(1 << 20) + encode(PING, SYN, 0, 9))
    server.send_data(taken, b"answer")
    server.go_away(GoAwayCode.NORMAL)
    server.go_away(GoAwayCode.NORMAL)
    assert server.pull(1 << 20) == (
        encode(WINDOW_UPDATE, ACK, taken, 0)
        + encode(GO_AWAY, 0, 0, 0)
        + encode(PING, ACK, 0, 9)
        + encode(DATA, 0, taken, 6)
        + b"answer"
    )


def test_breach_is_told_before_the_answers_that_wait(server):
    with pytest.raises(WireError):
        server.receive_data(encode(PING, SYN, 0, 1) * MAX_ANSWERS + encode(WINDOW_UPDATE, SYN, 2, 0))
    assert server.pull(1).startswith(encode(GO_AWAY, 0, 0, GoAwayCode.PROTOCOL_ERROR))


def test_streams_that_we_reset_count_until_the_peer_can_know():
    server = Yamux(client=False, max_streams=10)
    for number in range(10):
        stream_id = 2 * number + 1
        assert server.receive_data(encode(WINDOW_UPDATE, SYN, stream_id, 0)) == [StreamOpened(stream_id)]
        server.reset_stream(stream_id)
    for number in range(10, 10 + MAX_ANSWERS):
        assert server.receive_data(encode(WINDOW_UPDATE, SYN, 2 * number + 1, 0)) == []
    with pytest.raises(WireError):
        server.receive_data(encode(WINDOW_UPDATE, SYN, 99_999, 0))


def test_refused_streams_make_room_once_their_resets_are_out():
    server = Yamux(client=False, max_streams=1)
    for number in range(3 * MAX_ANSWERS):
        stream_id = 2 * number + 1
        assert server.receive_data(encode(WINDOW_UPDATE, SYN, stream_id, 0)) == [StreamOpened(stream_id)]
        server.reset_stream(stream_id)
        assert server.pull(1 << 20) == encode(WINDOW_UPDATE, RST, stream_id, 0)
    # Room for one, and no more.
    assert server.receive_data(encode(WINDOW_UPDATE, SYN, 99_001, 0)) == [StreamOpened(99_001)]
    assert server.receive_data(encode(WINDOW_UPDATE, SYN, 99_003, 0)) == []


def test_as_many_answers_as_the_bound_are_given_again_and_again(server):
    for _ in range(3):
        server.receive_data(encode(PING, SYN, 0, 1) * MAX_ANSWERS)
        assert server.pull(1 << 20) == encode(PING, ACK, 0, 1) * MAX_ANSWERS


def test_peer_may_open_and_end_streams_without_end():
    server = Yamux(client=False, max_streams=2)
    for number in range(100):
        ended, reset = 4 * number + 1, 4 * number + 3
        server.receive_data(encode(WINDOW_UPDATE, SYN | FIN, ended, 0) + encode(WINDOW_UPDATE, SYN, reset, 0))
        assert server.stream_count == 2
        server.end_stream(ended)
        server.pull(1 << 20)
        server.receive_data(encode(WINDOW_UPDATE, RST, reset, 0))
        assert server.stream_count == 0


def test_windows_given_back_wait_in_one_frame_a_stream(agent, server):
    stream_id = opened(agent, server)
    for _ in range(2):
        agent.send_data(stream_id, bytes(INITIAL_WINDOW // 2))
        server.receive_data(agent.pull(1 << 20))
        server.consumed(stream_id, INITIAL_WINDOW // 2, 0.0)
    assert any(server.output)
    assert server.pull(1 << 20) == encode(WINDOW_UPDATE, 0, stream_id, INITIAL_WINDOW)
    assert not any(server.output)


def test_peer_may_send_only_what_it_was_told(agent, server):
    stream_id = opened(agent, server)
    agent.send_data(stream_id, bytes(INITIAL_WINDOW))
    server.receive_data(agent.pull(1 << 20))
    server.consumed(stream_id, INITIAL_WINDOW, 0.0)
    with pytest.raises(WireError):  # it reads nothing, and goes on as if it had
        server.receive_data(encode(DATA, 0, stream_id, 1) + b"x")


def test_no_window_is_given_to_a_peer_that_ended_its_half(agent, server):
    stream_id = opened(agent, server)
    agent.send_data(stream_id, bytes(INITIAL_WINDOW))
    server.receive_data(agent.pull(1 << 20))
    server.consumed(stream_id, INITIAL_WINDOW // 2, 0.0)
    agent.end_stream(stream_id)
    server.receive_data(agent.pull(1 << 20))
    server.consumed(stream_id, INITIAL_WINDOW // 2, 0.0)
    assert server.pull(1 << 20) == b""


def test_ack_travels_with_the_first_window_update(server):
    server.receive_data(encode(DATA, SYN, 1, INITIAL_WINDOW) + bytes(INITIAL_WINDOW))
    server.consumed(1, INITIAL_WINDOW, 0.0)
    assert server.pull(1 << 20) == encode(WINDOW_UPDATE, ACK, 1, INITIAL_WINDOW)


def test_second_fin_is_ignored(agent, server):
    stream_id = opened(agent, server)
    fin = encode(WINDOW_UPDATE, FIN, stream_id, 0)
    assert server.receive_data(fin) == [StreamEnded(stream_id)]
    assert server.receive_data(fin) == []
    assert server.send_data(stream_id, b"x") == 1


def test_peer_that_ended_its_half_still_gives_windows(agent, server):
    stream_id = opened(agent, server)
    server.send_data(stream_id, bytes(INITIAL_WINDOW + 1))
    server.receive_data(encode(WINDOW_UPDATE, FIN, stream_id, 0))
    server.pull(1 << 20)
    server.receive_data(encode(WINDOW_UPDATE, 0, stream_id, 1))
    assert server.pull(1 << 20) == encode(DATA, 0, stream_id, 1) + b"\0"


def test_stray_frames(server):
    rst = encode(WINDOW_UPDATE, RST, 7, 0)
    # Of a stream that never was: data gets one RST, in however many pieces it comes; nothing else does.
    for stray in (encode(WINDOW_UPDATE, 0, 7, 1), encode(WINDOW_UPDATE, FIN, 7, 0), rst):
        assert (server.receive_data(stray), server.pull(1 << 20)) == ([], b"")
    assert server.receive_data(encode(DATA, RST, 7, 1) + b"x") == []
    assert server.pull(1 << 20) == b""
    assert server.receive_data(encode(DATA, 0, 7, 5) + b"ab") == []
    assert server.receive_data(b"cde") == []
    assert server.pull(1 << 20) == rst
    # Of one that was: dropped.
    server.receive_data(encode(WINDOW_UPDATE, SYN, 9, 0) + encode(WINDOW_UPDATE, RST, 9, 0))
    assert server.receive_data(encode(DATA, FIN, 9, 1) + b"x") == []
    assert server.pull(1 << 20) == b""
    # Of one of ours: the same.
    server.reset_stream(server.open_stream())
    assert server.receive_data(encode(DATA, 0, 2, 1) + b"x") == []
    assert server.pull(1 << 20) == b""
    assert server.receive_data(encode(DATA, 0, 4, 1) + b"x") == []
    assert server.pull(1 << 20) == encode(WINDOW_UPDATE, RST, 4, 0)


def test_broken_before_it_was_announced(agent, server):
    stream_id = agent.open_stream()
    agent.send_data(stream_id, b"all")
    agent.break_stream(stream_id)
    assert server.receive_data(agent.pull(1 << 20)) == [
        StreamOpened(stream_id),
        DataReceived(stream_id, b"all"),
        StreamReset(stream_id),
    ]
    assert agent.write_ended(stream_id)


def test_bounds_are_those_of_the_documents():
    assert (MAX_UNACKED, MAX_ANSWERS, MAX_FRAME, LOW_WATER) == (256, 4096, 16_384, 32_768)
    assert (ACK_EVERY, REPLAY_LIMIT) == (65_536, 16_777_216)
    assert (INITIAL_WINDOW, MAX_WINDOW, SESSION_BUDGET) == (262_144, 16_777_216, 67_108_864)
    assert yamux.LAST_ID == 4_294_967_295
    server = Yamux(client=False)
    for number in range(65_536):
        server.receive_data(encode(WINDOW_UPDATE, SYN, 2 * number + 1, 0))
    assert server.stream_count == 65_536
    assert server.receive_data(encode(WINDOW_UPDATE, SYN, 200_001, 0)) == []


def test_delayed_stream_is_as_any_other_once_it_is_announced(agent, server):
    ids = [agent.open_stream() for _ in range(MAX_UNACKED + 1)]
    server.receive_data(agent.pull(1 << 20))
    agent.receive_data(server.pull(1 << 20))
    server.receive_data(agent.pull(1 << 20))
    agent.send_data(ids[-1], b"later")
    assert server.receive_data(agent.pull(1 << 20)) == [DataReceived(ids[-1], b"later")]


def test_pull_stops_at_its_limit(agent, server):
    for _ in range(3):
        agent.ping()
    size = len(encode(PING, SYN, 0, 0))
    assert [len(agent.pull(2 * size)), len(agent.pull(2 * size))] == [2 * size, size]
    ids = [opened(agent, server) for _ in range(3)]
    for stream_id in ids:
        agent.send_data(stream_id, bytes(INITIAL_WINDOW))
    while data := agent.pull(1 << 20):
        server.receive_data(data)
    for stream_id in ids:
        server.consumed(stream_id, INITIAL_WINDOW, 0.0)
    assert [len(server.pull(2 * size)), len(server.pull(2 * size))] == [2 * size, size]
    agent.receive_data(b"".join(encode(WINDOW_UPDATE, 0, stream_id, INITIAL_WINDOW) for stream_id in ids))
    for stream_id in ids:
        agent.send_data(stream_id, b"x")
    size += 1
    assert [len(agent.pull(2 * size)), len(agent.pull(2 * size))] == [2 * size, size]


def test_new_session_counts_from_nothing():
    server = Yamux(client=False, max_streams=1)
    assert (server.shared, server.local_go_away, server.remote_go_away) == (False, False, False)
    assert server.pull(1 << 20) == b""
    assert server.receive_data(encode(DATA, 0, 1, 1) + b"x") == []
    assert server.pull(1 << 20) == encode(WINDOW_UPDATE, RST, 1, 0)
    assert server.receive_data(encode(WINDOW_UPDATE, SYN, 1, 0)) == [StreamOpened(1)]
    assert server.receive_data(encode(WINDOW_UPDATE, SYN, 3, 0)) == []
    assert server.ping() == 0


def test_calls_on_a_stream_that_is_gone_do_nothing(agent):
    for call in (agent.end_stream, agent.break_stream, agent.reset_stream):
        call(99)
    agent.consumed(99, 1, 0.0)
    assert (agent.queued(99), agent.write_ended(99), agent.knows(99)) == (0, True, False)
    assert agent.pull(1 << 20) == b""


def test_ids_run_out(agent):
    agent._next_id = yamux.LAST_ID
    assert agent.open_stream() == yamux.LAST_ID
    with pytest.raises(StreamGone):
        agent.open_stream()


def test_small_stream_does_not_wait_behind_a_bulk_one(agent, server):
    bulk, small = opened(agent, server), opened(agent, server)
    agent.send_data(bulk, bytes(200_000))
    agent.send_data(small, b"quick")
    events = server.receive_data(agent.pull(2 * MAX_FRAME))
    assert [(event.stream_id, len(event.data)) for event in events[:2]] == [(bulk, MAX_FRAME), (small, 5)]


def test_control_frames_overtake_data(agent, server):
    stream_id = opened(agent, server)
    agent.send_data(stream_id, bytes(100_000))
    opaque = agent.ping()
    assert agent.pull(1).startswith(encode(PING, SYN, 0, opaque))


def test_drained_queues_are_told(agent, server):
    stream_id = opened(agent, server)
    agent.take_drained()
    agent.send_data(stream_id, b"nobody waits for this")
    agent.pull(1 << 20)
    assert agent.take_drained() == []
    agent.streams[stream_id].report_drained(True)
    agent.send_data(stream_id, bytes(5 * MAX_FRAME))
    told = []
    for _ in range(5):
        agent.pull(MAX_FRAME)
        told.append(agent.take_drained())
    # Twice: when 32 KiB are left, and when none are.
    assert told == [[], [], [stream_id], [], [stream_id]]
    agent.end_stream(stream_id)
    agent.pull(1 << 20)
    assert agent.take_drained() == [stream_id]


ACTIONS = ["open", "write", "end", "reset", "break", "pull", "deliver", "read", "ping"]


class Peer:
    """One side of a random run: what it sent on each stream and what it got."""

    def __init__(self, client):
        self.session = Yamux(client=client)
        self.sent = {}
        self.got = {}
        self.ended = set()
        self.reset = set()
        self.held = {}

    def receive(self, data):
        for event in self.session.receive_data(data):
            if isinstance(event, DataReceived):
                self.got[event.stream_id] = self.got.get(event.stream_id, b"") + event.data
                self.held[event.stream_id] = self.held.get(event.stream_id, 0) + len(event.data)
            elif isinstance(event, StreamOpened):
                self.sent.setdefault(event.stream_id, b"")
            elif isinstance(event, StreamEnded):
                self.ended.add(event.stream_id)
            elif isinstance(event, StreamReset):
                self.reset.add(event.stream_id)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_two_sessions_agree_whatever_happens(data):
    """Any operations, any cuts of the bytes: each side reads exactly what the other wrote."""
    peers = [Peer(True), Peer(False)]
    pipes = [bytearray(), bytearray()]
    finished, resets = [set(), set()], set()
    clock = 0.0
    for _ in range(data.draw(st.integers(5, 60))):
        who = data.draw(st.integers(0, 1))
        me, session = peers[who], peers[who].session
        clock += 0.01
        action = data.draw(st.sampled_from(ACTIONS))
        usable = sorted(set(me.sent) - finished[who] - resets - me.reset)
        if action == "open":
            me.sent[session.open_stream()] = b""
        elif action == "write" and usable:
            stream_id = data.draw(st.sampled_from(usable))
            chunk = bytes([stream_id % 251]) * data.draw(st.sampled_from([1, 100, 20_000, 300_000]))
            session.send_data(stream_id, chunk)
            me.sent[stream_id] += chunk
        elif action == "end" and usable:
            stream_id = data.draw(st.sampled_from(usable))
            session.end_stream(stream_id)
            finished[who].add(stream_id)
        elif action == "reset" and usable:
            stream_id = data.draw(st.sampled_from(usable))
            session.reset_stream(stream_id)
            resets.add(stream_id)
        elif action == "break" and usable:
            stream_id = data.draw(st.sampled_from(usable))
            session.break_stream(stream_id)
            resets.add(stream_id)
        elif action == "pull":
            pipes[who] += session.pull(data.draw(st.integers(1, 100_000)))
        elif action == "deliver":
            size = data.draw(st.integers(1, 70_000))
            chunk, pipes[1 - who][:size] = bytes(pipes[1 - who][:size]), b""
            me.receive(chunk)
        elif action == "read" and me.held:
            stream_id, amount = me.held.popitem()
            session.consumed(stream_id, amount, clock)
        elif action == "ping":
            session.ping()
    # Let everything flow, with both readers reading.
    while True:
        moved = False
        for who in (0, 1):
            pipes[who] += peers[who].session.pull(1 << 20)
            if pipes[who]:
                peers[1 - who].receive(bytes(pipes[who]))
                pipes[who].clear()
                moved = True
            while peers[who].held:
                stream_id, amount = peers[who].held.popitem()
                clock += 0.001
                peers[who].session.consumed(stream_id, amount, clock)
        if not moved and not any(any(peer.session.output) for peer in peers):
            break
    for who in (0, 1):
        other = peers[1 - who]
        for stream_id, written in peers[who].sent.items():
            read = other.got.get(stream_id, b"")
            if stream_id in resets:
                assert written.startswith(read)
            else:
                assert read == written
                assert (stream_id in other.ended) == (stream_id in finished[who])
    alive = {i for peer in peers for i in peer.sent} - resets - (finished[0] & finished[1])
    assert peers[0].session.stream_count == peers[1].session.stream_count == len(alive)


@given(st.binary(max_size=200))
def test_random_bytes_never_do_worse_than_a_wire_error(noise):
    session = Yamux(client=False)
    try:
        session.receive_data(noise)
    except WireError:
        assert session.local_go_away

"""Tests for L{burrow.link.messages} and L{burrow.link.masks}: the same outcome as Autobahn alone."""

import runpy
from itertools import pairwise
from types import SimpleNamespace

import pytest
from autobahn import websocket
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from burrow.link import MAX_MESSAGE, accept, masks
from burrow.link.accept import AcceptFactory, AcceptProtocol
from burrow.link.address import Credentials, ServerAddress
from burrow.link.dial import DialFactory, DialProtocol
from burrow.link.lean import with_options
from burrow.link.masks import ZERO, apply_mask, random_masks
from burrow.link.messages import LARGE


class ThroughAutobahn:
    """Mixed in before the carrier: every byte goes through Autobahn, in both directions."""

    def dataReceived(self, data):
        if not self.failedByMe:
            self._dataReceived(data)

    def send_message(self, data, header):
        self.sendMessage(header + data, True)


class SlowServer(ThroughAutobahn, AcceptProtocol):
    pass


class SlowAgent(ThroughAutobahn, DialProtocol):
    pass


class User:
    """Keeps what comes; at one number of messages it closes, aborts or leaves the connection."""

    def __init__(self, protocol, at=None, does=""):
        self.protocol, self.at, self.does = protocol, at, does
        self.messages = []

    def carrier_received(self, data):
        assert type(data) in (bytes, memoryview)
        self.messages.append(bytes(data))
        if len(self.messages) == self.at:
            if self.does == "leave":
                self.protocol.user = None
            elif self.does == "close":
                self.protocol.close("enough", 1000)
            else:
                self.protocol.dropConnection(abort=True)


class Transport(StringTransport):
    """Counts how it is ended; nothing comes after."""

    ended = ""

    def unregisterProducer(self):
        pass

    def abortConnection(self):
        self.ended = "aborted"

    def loseConnection(self):
        self.ended = self.ended or "lost"


def opened(kind, **user):
    """A protocol whose handshake is done."""
    clock = Clock()
    if issubclass(kind, DialProtocol):
        address = ServerAddress(False, "127.0.0.1", 80)
        factory = DialFactory(clock, Credentials(address, "token", "agent-1234"), None)
    else:
        factory = AcceptFactory(clock, None, None, None)
    factory._batched_timer = SimpleNamespace(call_later=clock.callLater)
    lean = issubclass(kind, AcceptProtocol) and not issubclass(kind, ThroughAutobahn)
    protocol = with_options(kind, factory)() if lean else kind()
    protocol.factory = factory
    protocol.makeConnection(Transport())
    protocol.transport.clear()
    protocol.state = protocol.STATE_OPEN
    protocol.serverConnectionDropTimeout = 0
    protocol.inside_message, protocol.current_frame, protocol.websocket_version = False, None, 13
    protocol._unusual = False
    protocol.user = User(protocol, **user)
    if lean:
        protocol.keep_little()  # so that all is compared with one that keeps what Autobahn has
    return protocol


def frame(payload, *, first=0x82, mask=None, length=None, form=None):
    """One frame; C{length} and C{form} (0, 126 or 127) may be wrong."""
    size = len(payload) if length is None else length
    form = form or (0 if size < 126 else 126 if size < 65536 else 127)
    bit = 0 if mask is None else 0x80
    count = {0: b"", 126: size.to_bytes(8, "big")[-2:], 127: size.to_bytes(8, "big")}[form]
    head = bytes((first, bit | (form or size & 127))) + count
    return head + (payload if mask is None else mask + apply_mask(mask, payload))


SIZES = (125, 126, 127, 1200, LARGE - 1, LARGE, 65535, 65536, 70_000)
PAYLOADS = st.one_of(st.binary(max_size=20), st.sampled_from([(bytes(range(256)) * 300)[:n] for n in SIZES]))
MASKS = st.one_of(st.just(ZERO), st.binary(min_size=4, max_size=4))


@st.composite
def streams(draw, agent):
    """Frames of a peer's, most of them good, and where they are cut."""
    parts = []
    for _ in range(draw(st.integers(1, 8))):
        mask = None if agent else draw(MASKS)
        payload = draw(PAYLOADS)
        kind = draw(st.integers(0, 17))
        if kind == 0:
            parts += [frame(payload, first=0x02, mask=mask), frame(b"ping", first=0x89, mask=mask)]
            parts += [frame(payload, first=0x80, mask=mask)]
        elif kind == 1:
            parts.append(frame(payload[:100], first=draw(st.integers(0, 255)), mask=mask))
        elif kind == 2:
            parts.append(frame(payload, mask=bytes(4) if mask is None else None))
        elif kind == 3:
            parts.append(frame(payload[:100], form=draw(st.sampled_from([126, 127])), mask=mask))
        elif kind == 4:
            length = draw(st.sampled_from([MAX_MESSAGE + 1, 1 << 62, 1 << 63]))
            parts.append(frame(payload, length=length, mask=mask))
        elif kind == 5:
            parts.append(
                frame(draw(st.sampled_from([b"", b"\x03\xe8", b"\x0f\xa1bye"])), first=0x88, mask=mask)
            )
        elif kind == 6:
            parts.append(frame(payload[:20], first=0x89, mask=mask))
        elif kind == 7:
            parts.append(frame(payload, first=0x81, mask=mask))
        elif kind == 8:
            parts.append(draw(st.binary(min_size=1, max_size=30)))
        else:
            parts.append(frame(payload, mask=mask))
    data = b"".join(parts)
    cuts = draw(
        st.lists(st.integers(0, min(len(data), draw(st.sampled_from([40, 2000, 1 << 20])))), max_size=12)
    )
    cuts = sorted({0, len(data), *cuts})
    return [data[start:stop] for start, stop in pairwise(cuts)]


def outcome(kind, pieces, user):
    protocol = opened(kind, **user)
    seen = []
    for piece in pieces:
        protocol.dataReceived(piece)
        seen.append((len(protocol.user.messages) if protocol.user else None, protocol.state))
        if protocol.transport.ended:
            break
    messages = protocol.user.messages if protocol.user else None
    return messages, seen, protocol.transport.value(), protocol.transport.ended, protocol.wasClean


USERS = st.fixed_dictionaries(
    {"at": st.integers(1, 4), "does": st.sampled_from(["", "", "leave", "close", "drop"])}
).map(lambda user: user if user["does"] else {})


@given(streams(agent=False), USERS)
def test_server_does_as_autobahn(pieces, user):
    assert outcome(AcceptProtocol, pieces, user) == outcome(SlowServer, pieces, user)


@given(streams(agent=True), USERS)
def test_agent_does_as_autobahn(pieces, user):
    with pytest.MonkeyPatch.context() as patch:  # of close frames and pongs
        patch.setattr("autobahn.websocket.protocol.random.getrandbits", lambda bits: 0x01020304)
        assert outcome(DialProtocol, pieces, user) == outcome(SlowAgent, pieces, user)


PING = frame(b"xy", first=0x89, mask=b"\x81abc")
LIKE_A_MESSAGE = frame(b"\x82\x81abcd", first=0x89, mask=ZERO)


@pytest.mark.parametrize(
    "pieces",
    [
        [frame(b"a", first=0x02, mask=ZERO), frame(b"b", mask=ZERO)],
        [PING[:1], PING[1:], frame(b"later", mask=ZERO)],
        [LIKE_A_MESSAGE[:6], LIKE_A_MESSAGE[6:], frame(b"later", mask=ZERO)],
        [frame(b"a", first=0x02, mask=ZERO), LIKE_A_MESSAGE[:6], LIKE_A_MESSAGE[6:]],
    ],
)
def test_what_looks_like_a_message_within_another_frame_or_message(pieces):
    """It begins with the byte of a whole message, and is for Autobahn all the same."""
    assert outcome(AcceptProtocol, pieces, {}) == outcome(SlowServer, pieces, {})


def test_large_message_byte_by_byte_and_a_small_one_behind_it():
    message = bytes(range(256)) * 300
    protocol = opened(AcceptProtocol)
    data = frame(message, mask=b"abcd") + frame(b"x", mask=ZERO)
    for start in range(len(data)):
        protocol.dataReceived(data[start : start + 1])
    assert protocol.user.messages == [message, b"x"]


def test_unfinished_frame_is_bounded_by_the_largest_message():
    protocol = opened(AcceptProtocol)
    protocol.dataReceived(frame(b"", length=MAX_MESSAGE, mask=b"abcd"))
    for _ in range(MAX_MESSAGE // (1 << 20) - 1):
        protocol.dataReceived(bytes(1 << 20))
    assert sum(map(len, protocol._frame)) < MAX_MESSAGE
    protocol.dataReceived(bytes(1 << 20))
    assert protocol._frame is None
    assert len(protocol.user.messages[0]) == MAX_MESSAGE


@given(
    st.sampled_from([0, 1, 125, 126, 1200, LARGE - 1, LARGE, 65535, 65536, 300_000]),
    st.integers(0, 13),
    st.booleans(),
)
def test_what_is_sent_is_what_autobahn_reads(size, ahead, zero_mask):
    """Whatever part of it is given as a header."""
    message = (bytes(range(251)) * 1200)[:size]
    header, data = message[:ahead], message[ahead:]
    for sender, reader in ((AcceptProtocol, SlowAgent), (DialProtocol, SlowServer)):
        sending, reading = opened(sender), opened(reader)
        sending.zero_mask = zero_mask
        assert sending.send(data, header) is False
        sent = sending.transport.value()
        reading.dataReceived(sent)
        assert reading.user.messages == [message]
        if sender is DialProtocol:
            start = len(sent) - size
            assert (sent[start - 4 : start] == ZERO) is zero_mask


def test_little_is_kept_of_an_open_websocket_and_that_it_closes():
    protocol = opened(AcceptProtocol)
    assert protocol.allowedOrigins is protocol.factory.allowedOrigins
    assert protocol.perMessageCompressionAccept is protocol.factory.perMessageCompressionAccept
    assert len(vars(protocol)) <= 21  # the next size of a dict is twice as large
    protocol.close("enough", 1000)
    protocol.keep_little()
    assert protocol.closedByMe
    assert protocol.localCloseReason == b"enough"
    assert not opened(AcceptProtocol).closedByMe


def test_buffers_of_tls_are_released_once_the_handshake_is_over_and_now_and_then(monkeypatch):
    released = []
    monkeypatch.setattr(accept, "release_buffers", released.append)
    protocol, at = opened(AcceptProtocol), []
    for check in range(16):
        protocol._each_second()
        at += [check] * len(released)
        released.clear()
    assert at == [1, 9]


def test_nothing_is_sent_while_it_closes():
    protocol = opened(AcceptProtocol)
    protocol.close("enough", 1000)
    before = protocol.transport.value()
    assert protocol.send(b"x") is True
    assert protocol.transport.value() == before


@pytest.mark.parametrize("way", ["c", "python"])
@pytest.mark.parametrize("size", [0, 1, 3, 127, 128, 129, 1000, 1001, 16_393])
def test_masks(monkeypatch, way, size):
    if way == "c" and masks._nvx is None:
        pytest.skip("Autobahn is without its C")
    in_place = getattr(masks, f"_mask_in_{way}")
    monkeypatch.setattr(masks, "mask_in_place", in_place)
    data, mask = bytes(index * 7 % 256 for index in range(size)), b"\x01\x80\xfe\x37"
    expected = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
    assert apply_mask(mask, data) == expected
    for start in range(3):
        buffer = bytearray(start) + data
        in_place(mask, memoryview(buffer)[start:])
        assert buffer == bytes(start) + expected


def test_masks_do_not_repeat():
    found = [next(random_masks) for _ in range(3000)]
    assert len(set(found)) > 2990
    assert {len(mask) for mask in found} == {4}


def test_memory_of_the_masker_in_c_is_released(monkeypatch):
    made, released = [], []
    lib = SimpleNamespace(
        nvx_xormask_new=lambda mask: made.append(mask) or len(made),
        nvx_xormask_process=lambda masker, buffer, size: None,
        nvx_xormask_free=released.append,
    )
    monkeypatch.setattr(masks, "_nvx", SimpleNamespace(lib=lib, ffi=SimpleNamespace(from_buffer=bytes)))
    for _ in range(3):
        masks._mask_in_c(b"mask", bytearray(10))
    assert released == [1, 2, 3]


def test_releases_of_autobahn_that_do_not_tell_of_their_c_functions(monkeypatch):
    monkeypatch.delattr(websocket, "USES_NVX")
    again = runpy.run_path(masks.__file__)
    assert again["mask_in_place"] is again["_mask_in_python"]

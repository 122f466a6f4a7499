"""
Tests for L{burrow.http.http2}, h2's connection as a client, and of what it has in common with the server's
(L{burrow.http.http2_server}): how heads are written. h2's own connection is the peer.
"""

import struct

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, ResponseReceived
from h2.exceptions import DenialOfServiceError
from h2.settings import SettingCodes, Settings
from hpack import Decoder, NeverIndexedHeaderTuple
from hyperframe.frame import DataFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame
from hypothesis import given
from hypothesis import strategies as st

from burrow.http.hpack import MAX_ENCODER_TABLE, Http2Encoder
from burrow.http.http2 import MAX_CLOSED, Http2Connection
from burrow.http.http2_server.connection import Http2Server
from burrow.http.remembered import Memory
from tests.http.http2_server.one import SETTINGS, WINDOW, Recorder, mean

REQUEST = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/"), (b":authority", b"t")]


class Pair:
    """
    A connection of ours, of either side, and its peer.

    @ivar encoder: ours. @ivar first: the sizes that ours told before its last head.
    """

    def __init__(self, client):
        self.peer = H2Connection(H2Configuration(client_side=not client, header_encoding=None))
        self.peer.initiate_connection()
        self.stream = -1
        self.first = []

    def pump(self):
        events = []
        while True:
            ahead, back = self.ahead(), self.peer.data_to_send()
            if not ahead and not back:
                return events
            events += self.peer.receive_data(ahead)
            self.receive(back)

    def allow(self, *sizes):
        for size in sizes:
            self.peer.update_settings({SettingCodes.HEADER_TABLE_SIZE: size})
        self.pump()

    def say(self, *fields):
        """Ours sends a head. @return: its fields, as the peer read them."""
        self.stream += 2
        head, kind = self.prepare()
        self.first = list(self.encoder.table_size_changes)
        self.send([*head, *fields])
        (event,) = [event for event in self.pump() if isinstance(event, kind)]
        assert event.headers[len(head) :] == list(fields)

    @property
    def used(self):
        return self.encoder.header_table._current_size


class ClientPair(Pair):
    """Ours is the client."""

    def __init__(self, settings=None):
        super().__init__(client=True)
        self.ours = Http2Connection(H2Configuration(client_side=True, header_encoding=None))
        if settings:
            self.ours.local_settings = Settings(True, settings)
        self.ours.initiate_connection()
        self.encoder = self.ours.encoder
        self.ahead, self.receive = self.ours.data_to_send, self.ours.receive_data
        self.pump()

    def prepare(self):
        return REQUEST, RequestReceived

    def send(self, fields):
        self.ours.send_headers(self.stream, fields, end_stream=True)

    def answer(self, *fields):
        self.peer.send_headers(self.stream, [(b":status", b"200"), *fields], end_stream=True)
        return self.ours.receive_data(self.peer.data_to_send())


class ServerPair(Pair):
    """Ours is the server."""

    def __init__(self):
        super().__init__(client=False)
        self.ours = Http2Server(Recorder(), mean, Memory(), SETTINGS, WINDOW)
        self.ours.begin()
        self.encoder = self.ours.heads._encoder
        self.ahead, self.receive = self.ours.take, self.ours.receive
        self.pump()

    def prepare(self):
        self.peer.send_headers(self.stream, REQUEST, end_stream=True)
        self.pump()
        return [(b":status", b"200")], ResponseReceived

    def send(self, fields):
        self.ours.send_head(self.ours.streams[self.stream], self.ours.heads.write(fields), True)


@pytest.fixture(params=[ClientPair, ServerPair], ids=["client", "server"])
def pair(request):
    return request.param()


def test_encoders_table_does_not_grow_as_far_as_the_peer_allows(pair):
    pair.allow(2**32 - 1)
    for number in range(90):
        pair.say((b"x-%d" % number, b"y" * 100))
    assert MAX_ENCODER_TABLE - 200 < pair.used <= MAX_ENCODER_TABLE


@pytest.mark.parametrize("size", [0, 100, 2000])
def test_encoders_table_is_as_small_as_the_peer_says(pair, size):
    pair.say((b"x-before", b"y" * 1500))
    pair.allow(size)
    for number in range(50):
        pair.say((b"x-%d" % number, b"y" * 20))
        assert pair.used <= size
    assert pair.peer.decoder.header_table_size == size


def test_smallest_size_and_the_last_are_told(pair):
    pair.say((b"x-before", b"y"))
    pair.allow(*range(1000, 3000), 500, 2**32 - 1, 800, 700)
    pair.say((b"x-after", b"y"))
    assert pair.first == [500, 700]


def test_size_is_told_though_the_last_settings_change_nothing(pair):
    pair.allow(100, 100)
    pair.say((b"x-after", b"y"))
    assert pair.peer.decoder.header_table_size == 100


def test_peer_that_allows_as_much_again_is_told_nothing(pair):
    pair.allow(2**20, 2**21)
    pair.say((b"x-after", b"y"))
    assert pair.first == []


def test_values_that_change_do_not_push_out_what_stays(pair):
    same = [(b"x-same-%d" % number, b"y" * 20) for number in range(20)]
    pair.say(*same, (b"x-id", b"0"))
    used = pair.used
    for number in range(90):
        pair.say(*same, (b"x-id", b"%016x" % number))
    assert pair.used - used < 200  # the :status, or the request's own, at most
    assert all(pair.encoder.header_table.search(*field)[2] for field in same)


def test_names_of_hpacks_own_are_in_the_table_with_their_newest_value(pair):
    for date in (b"one", b"two"):
        pair.say((b"date", date))
        assert pair.encoder.header_table.search(b"date", date)[2] == date


def test_field_that_is_never_to_be_indexed_is_not():
    encoder, decoder = Http2Encoder(), Decoder()
    for _ in range(2):
        (field,) = decoder.decode(encoder.encode([NeverIndexedHeaderTuple(b"x-key", b"secret")]), raw=True)
        assert field == (b"x-key", b"secret")
        assert not field.indexable
    assert not encoder.header_table.dynamic_entries


NAMES = st.sampled_from([b":status", b"date", b"server", *(b"x-%d" % number for number in range(80))])
VALUES = st.sampled_from([b"", b"200", b"a", b"b", b"c" * 100, b"d" * 5000]) | st.binary(max_size=10)


@given(st.lists(st.lists(st.tuples(NAMES, VALUES), max_size=90), max_size=5), st.sampled_from([0, 50, 4096]))
def test_what_is_encoded_is_decoded(heads, size):
    encoder, decoder = Http2Encoder(), Decoder(max_header_list_size=1 << 20)
    encoder.header_table_size = size
    for head in heads:
        assert decoder.decode(encoder.encode(iter(head)), raw=True) == head
        assert list(decoder.header_table.dynamic_entries) == list(encoder.header_table.dynamic_entries)


def test_many_fields_in_the_table():
    """Indexes of more than one byte."""
    encoder, decoder = Http2Encoder(), Decoder()
    fields = [(b"x-%d" % number, b"") for number in range(100)]
    for _ in range(2):
        assert decoder.decode(encoder.encode(fields), raw=True) == fields
    changed = [(name, b"y") for name, _ in fields]
    assert decoder.decode(encoder.encode(changed), raw=True) == changed
    assert len(encoder.header_table.dynamic_entries) == 100


def test_settings_that_are_not_known_are_not_kept():
    pair = ClientPair()
    frame = SettingsFrame(0, settings={SettingCodes.INITIAL_WINDOW_SIZE: 1234})
    body = b"".join(struct.pack(">HL", code, 1) for code in range(0x10, 2000))
    data = frame.serialize() + len(body).to_bytes(3, "big") + b"\4\0\0\0\0\0" + body
    before = len(pair.ours.remote_settings)
    pair.ours.receive_data(data)
    assert pair.ours.remote_settings.initial_window_size == 1234
    assert len(pair.ours.remote_settings) <= before + 1


@pytest.mark.parametrize(("limit", "size", "taken"), [(200_000, 190_000, True), (20_000, 30_000, False)])
def test_head_may_be_as_long_as_our_settings_say(limit, size, taken):
    pair = ClientPair({SettingCodes.MAX_HEADER_LIST_SIZE: limit})
    pair.say()
    if taken:
        (event, _) = pair.answer((b"x", b"y" * size))
        assert len(event.headers[-1][1]) == size
    else:
        with pytest.raises(DenialOfServiceError):
            pair.answer((b"x", b"y" * size))


def test_streams_that_are_closed_are_forgotten():
    pair = ClientPair()
    for _ in range(MAX_CLOSED + 200):
        pair.say()
        pair.answer()
    pair.say()
    assert len(pair.ours._closed_streams) == MAX_CLOSED
    late = pair.stream - 2 * MAX_CLOSED + 100
    pair.ours.receive_data(RstStreamFrame(late, error_code=8).serialize())
    pair.ours.receive_data(WindowUpdateFrame(1, window_increment=1).serialize())
    pair.ours.receive_data(DataFrame(1, data=b"x").serialize())
    assert len(pair.answer()) == 2

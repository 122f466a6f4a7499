"""Tests for L{burrow.server.edge.gathering}: bodies that are read whole, and what they take together."""

import pytest

from burrow.policy.means import Busy
from burrow.server.edge import gathering
from burrow.server.edge.gathering import Gathering, Room
from tests.policy.visiting import outcome

WHO = "192.0.2.1"


def test_bounds_are_those_of_the_documents():
    assert (gathering.MOST, gathering.SHARE) == (64 << 20, 8)
    room = Room()
    assert room.take(WHO, 8 << 20)
    assert not room.take(WHO, 1)


def test_room_is_taken_to_the_last_byte():
    room = Room(80)
    for number in range(7):
        assert room.take(str(number), 10)
    assert room.take("8", 9)
    assert not room.take("9", 2)
    assert room.take("9", 1)
    assert room.used == 80
    room.give_back("9", 1)
    assert (room.used, room.take("8", 2), room.take("8", 1)) == (79, False, True)


def test_who_gave_all_back_is_forgotten():
    room = Room(80)
    room.take(WHO, 10)
    room.give_back(WHO, 4)
    assert not room.take(WHO, 5)
    room.give_back(WHO, 6)
    assert room._of == {}


def gathered(limit=10, length=None, room=None):
    return Gathering(room or Room(), WHO, limit, length)


def test_body_that_is_whole():
    room = Room()
    body = gathered(room=room)
    body.add(b"01234", None)
    assert not body.done.called
    body.add(b"56789", [(b"X", b"y")])
    assert outcome(body.done) == b"0123456789"
    assert (body.over, room.used) == (False, 10)
    assert (outcome(body.again(10)), outcome(body.again(9))) == (b"0123456789", None)
    assert body.take() == (b"0123456789", [(b"X", b"y")])
    assert (body.over, room.used) == (True, 0)
    assert outcome(body.again(10)) is None
    body.drop()
    assert room.used == 0


def test_body_without_trailers_has_none():
    body = gathered()
    body.add(b"x", [])
    assert body.take() == (b"x", [])


def test_body_that_is_said_to_be_too_large():
    body = gathered(length=11)
    assert (outcome(body.done), body.over) == (None, True)
    body.add(b"0123456789", [])
    assert body.take() == (b"", [])
    fits = gathered(length=10)
    assert (fits.done.called, fits.over) == (False, False)


def test_body_that_turns_out_too_large():
    room = Room()
    body = gathered(room=room)
    body.add(b"0123456789", None)
    assert not body.over
    body.add(b"x", None)
    assert (outcome(body.done), body.over, room.used) == (None, True, 0)
    body.add(b"y", [])


def test_body_for_which_there_is_no_room():
    room = Room(80)
    body = gathered(limit=100, room=room)
    body.add(b"0123456789", None)
    body.add(b"x", None)
    with pytest.raises(Busy):
        outcome(body.done)
    assert (body.over, room.used) == (True, 0)


def test_visitor_that_left_hears_of_nothing():
    """What waited for the body was cancelled."""
    for limit, room in ((5, Room()), (100, Room(8))):
        body = gathered(limit=limit, room=room)
        body.done.addErrback(lambda reason: None)
        body.done.cancel()
        body.add(b"0123456789", None)
        assert (body.over, room.used) == (True, 0)
    body = gathered()
    body.done.addErrback(lambda reason: None)
    body.done.cancel()
    body.add(b"x", [])

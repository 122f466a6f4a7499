"""bench.relay: when a line has room, and in what order it hands on. Time is given."""

from bench.relay import SEGMENT, Direction, Line


class Arrivals(list):
    """Stands for a pipe."""

    def arrived(self, data):
        self.append(data)


def test_bytes_arrive_when_the_line_has_carried_what_was_before_and_the_delay_is_over():
    direction, pipe = Direction(Line(rate=8000, delay=0.5, queue=3000)), Arrivals()
    direction.put(pipe, b"a" * 1000, now=10.0)
    direction.put(pipe, b"b" * 500, now=10.0)
    direction.arrived(11.49)
    assert pipe == []
    direction.arrived(11.5)
    assert pipe == [b"a" * 1000]
    direction.arrived(12.0)
    assert len(pipe) == 2


def test_a_full_queue_has_room_again_when_a_segment_has_left():
    direction = Direction(Line(rate=8 * SEGMENT, queue=3 * SEGMENT))
    for _ in range(3):
        assert direction.room_at(0.0) <= 0.0
        direction.put(Arrivals(), b"x" * SEGMENT, now=0.0)
    assert direction.room_at(0.0) == 1.0


def test_a_line_that_was_idle_does_not_make_up_for_it():
    direction, pipe = Direction(Line(rate=8000)), Arrivals()
    direction.put(pipe, b"a" * 1000, now=100.0)
    direction.arrived(100.9)
    assert pipe == []


def test_without_a_rate_the_bytes_under_way_are_bounded():
    direction = Direction(Line(delay=1.0, queue=10))
    direction.put(Arrivals(), b"x" * 10, now=0.0)
    assert direction.room_at(0.5) == float("inf")
    direction.arrived(1.0)
    assert direction.room_at(1.0) == 1.0

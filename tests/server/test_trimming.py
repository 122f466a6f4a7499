"""Tests for L{burrow.server.trimming}."""

from twisted.internet.task import Clock

from burrow.server.trimming import EVERY, MANY, Trimming


class Looks:
    """A server whose sessions begin and end as told. @ivar trims: at which look memory was given back."""

    def __init__(self):
        self.clock, self.turnover, self.look, self.trims = Clock(), 0, 0, []
        self.trimming = Trimming(self.clock, lambda: self.turnover, lambda: self.trims.append(self.look))
        self.trimming.start()

    def after(self, sessions):
        """The next look, after so many sessions began or ended."""
        self.turnover += sessions
        self.look += 1
        self.clock.advance(EVERY)


def test_memory_is_given_back_once_no_more_agents_come():
    looks = Looks()
    for sessions in (MANY, 1, 0, 0, 0):
        looks.after(sessions)
    assert looks.trims == [3]


def test_memory_of_few_agents_is_kept_until_they_are_many():
    looks = Looks()
    for sessions in (MANY - 2, 0, 1, 0, 1, 0, 0, MANY - 1, 0):
        looks.after(sessions)
    assert looks.trims == [6]


def test_it_stops():
    looks = Looks()
    looks.after(MANY)
    looks.trimming.stop()
    looks.trimming.stop()
    looks.after(0)
    assert looks.trims == []
    assert not looks.clock.getDelayedCalls()

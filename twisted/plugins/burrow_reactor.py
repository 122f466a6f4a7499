"""Lets `twistd --reactor burrow` choose L{burrow.reactor}."""

from twisted.application.reactors import Reactor

reactor = Reactor("burrow", "burrow.reactor", "epoll, with transports that send at the end of the turn")

"""Tells commands and their answers, as http tells requests. Secrets of AUTH and HELLO are not told."""

from collections import deque

from burrow.observe.observer import BROKEN, LEFT, Observer
from burrow.traffic.record import Record
from burrow_redis.resp import CommandReader, Malformed, ReplyReader

MAX_PENDING = 1000
"""Commands that wait for their answers and are told. Further ones are counted, and not told."""

SUBSCRIBES = {"SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "MONITOR"}
"""From these on, what comes are no answers: all is one record, which ends with the connection."""


class CommandObserver(Observer):
    def begun(self):
        self._commands, self._replies = CommandReader(), ReplyReader()
        self._asking = None  # the record of the command that comes in
        self._pending = deque()  # records that wait for answers, and numbers of commands that are not told
        self._subscribed = False

    def received(self, data):
        for piece, command in self._commands.feed(data):
            if command is not None:
                self._asking = None if self._subscribed else self._begin(command)
            if self._asking is not None:
                self._asking.received += len(piece)

    def _begin(self, command):
        if command.name == "CLIENT" and command.first.upper() == b"REPLY":
            raise Malformed("answers may be missing from now on")
        if len(self._pending) >= MAX_PENDING:
            if isinstance(self._pending[-1], int):
                self._pending[-1] += 1
            else:
                self._pending.append(1)
            return None
        record = Record(self.kind, self.tunnel, self.visitor, self.scheme)
        record.method = command.name or "?"
        record.target = "" if command.name in ("AUTH", "") else command.key
        self._subscribed = command.name in SUBSCRIBES
        self._pending.append(record)
        self.traffic.begun(record)
        return record

    def sent(self, data):
        for piece, reply in self._replies.feed(data):
            if not self._pending:
                continue
            record = self._pending[0]
            if isinstance(record, Record):
                self._tell(record, piece)
            if reply is None or reply.kind == b">":  # no answer, or none to a command
                continue
            if isinstance(record, int):
                self._pending[0] -= 1
                if not self._pending[0]:
                    self._pending.popleft()
            elif record.method not in SUBSCRIBES or reply.error:
                self._pending.popleft()
                self.traffic.ended(record, reply.error)

    def _tell(self, record, piece):
        if record.first_byte is None:
            record.first_byte = record.now()
        record.sent += len(piece)
        if self.traffic.bodies:
            self.traffic.body(record, True, piece)

    def upstream_ended(self):
        self._end("the upstream closed the connection before its answer")

    def broken(self):
        self._end(BROKEN)

    def lost(self, error):
        self._end(error or LEFT)

    def stop(self):
        super().stop()
        self._end("the agent cannot read the rest of it")

    def _end(self, error):
        pending, self._pending = self._pending, deque()
        for record in pending:
            if isinstance(record, Record):
                self.traffic.ended(record, "" if record.method in SUBSCRIBES else error)

"""Tests for L{burrow.cli.line_writer}: a reader that is stuck stops nobody."""

import os
import threading

import pytest

from burrow.cli import line_writer
from burrow.cli.line_writer import CHUNK, LineWriter


class Pipe:
    """Lines to a pipe that is read here. @ivar broken: the errors that were told."""

    def __init__(self):
        self.broken = []
        self.told = threading.Event()
        self.reader, self.descriptor = os.pipe()
        self.made = []

    def writer(self, limit=1_000_000):
        self.made.append(LineWriter(self.descriptor, limit, lambda count: f"{count} left out", self._tell))
        return self.made[-1]

    def _tell(self, error):
        self.broken.append(type(error))
        self.told.set()

    def fill(self):
        """Nobody has read for long. @return: the bytes that are there."""
        os.set_blocking(self.descriptor, False)
        filled = os.write(self.descriptor, b"-" * (1 << 20))
        os.set_blocking(self.descriptor, True)
        return filled

    def read(self):
        """Bytes that are there; waits for the first."""
        return os.read(self.reader, 1 << 22)

    def read_until(self, end):
        seen = b""
        while not seen.endswith(end):
            seen += self.read()
        return seen.decode()


@pytest.fixture
def pipe(monkeypatch):
    monkeypatch.setattr(line_writer, "EVERY", 0.001)
    pipe = Pipe()
    yield pipe
    os.close(pipe.reader)  # who still writes is told now
    for writer in pipe.made:
        writer.close()
    os.close(pipe.descriptor)


def test_lines_are_written_in_order(pipe):
    writer = pipe.writer()
    for number in range(1000):
        writer.put(f"{number}")
    expected = "".join(f"{number}\n" for number in range(1000))
    assert pipe.read_until(b"\n999\n") == expected
    writer.put("thrée\n\ud800")
    assert pipe.read_until(b"ud800\n") == "thrée\n\\ud800\n"


def test_lines_of_a_moment_are_written_together(pipe, monkeypatch):
    monkeypatch.setattr(line_writer, "EVERY", 60)
    writer = pipe.writer()
    writer.put("one")
    writer.put("two")
    writer.close()  # the end waits for no more
    assert pipe.read() == b"one\ntwo\n"


def test_who_does_not_read_delays_nobody_and_is_told_what_is_missing(pipe):
    writer = pipe.writer(limit=300_000)
    line = "x" * 999
    filled = pipe.fill()
    for _ in range(350):
        writer.put(line)
    assert writer._size == 300_000
    writer.put("\n".join([line] * 3))
    left_out, seen = 0, ""
    while left_out < 53:
        seen += pipe.read_until(b" left out\n")
        left_out = sum(int(line.split()[0]) for line in seen.splitlines() if "left out" in line)
    assert seen[filled:].count(f"{line}\n") == 300
    writer.put("last")
    assert pipe.read_until(b"last\n") == "last\n"


def test_lines_are_written_whole_into_a_pipe(pipe, monkeypatch):
    pieces = []

    def write(descriptor, data):
        pieces.append(data)
        return len(data)

    lines = [f"{number} {'é' * (number % 700)}" for number in range(900)] + ["x" * 10_000]
    monkeypatch.setattr(line_writer.os, "write", write)
    writer = pipe.writer()
    writer.put("\n".join(lines))
    writer.close()
    assert b"".join(pieces).decode() == "\n".join([*lines, ""])
    assert all(len(piece) <= CHUNK or piece.count(b"\n") == 1 for piece in pieces)
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert len(pieces) < 300


def test_the_end_waits_for_a_stuck_reader_only_so_long(pipe, monkeypatch):
    monkeypatch.setattr(line_writer, "CLOSE_WITHIN", 0.01)
    writer = pipe.writer()
    pipe.fill()
    writer.put("never read")
    writer.close()
    writer.close()
    assert writer._size
    writer.put("too late")
    assert writer._lines == []


def test_a_broken_pipe_is_told_once_and_harms_nobody(pipe):
    os.close(pipe.reader)
    pipe.reader = os.open(os.devnull, os.O_RDONLY)
    writer = pipe.writer()
    writer.put("into nothing")
    assert pipe.told.wait(10)
    writer.put("again")
    writer.close()
    assert writer._size == 0
    assert pipe.broken == [BrokenPipeError]

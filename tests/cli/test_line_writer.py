"""Tests for L{burrow.cli.line_writer}: a reader that is stuck stops nobody."""

import threading

from burrow.cli import line_writer
from burrow.cli.line_writer import LineWriter


class File:
    """A file whose writes wait until they are let through."""

    def __init__(self):
        self.written = ""
        self.let = threading.Event()
        self.let.set()
        self.begun = threading.Event()

    def write(self, text):
        self.begun.set()
        self.let.wait(10)
        self.written += text

    def flush(self):
        pass


def test_lines_are_written_in_order():
    file = File()
    writer = LineWriter(file)
    for number in range(1000):
        writer.put(f"{number}\n")
    writer.close()
    assert file.written == "".join(f"{number}\n" for number in range(1000))


def test_stuck_reader_costs_bounded_memory_and_no_time():
    file = File()
    file.let.clear()
    writer = LineWriter(file, limit=100)
    writer.put("first\n")
    assert file.begun.wait(10)
    for _ in range(50):
        writer.put("123456789\n")
    assert writer._size <= 100
    file.let.set()
    writer.close()
    writer.put("last\n")
    writer.close()
    assert file.written.startswith("first\n123456789\n")
    assert "lines are missing here: the log was not read fast enough\n" in file.written
    assert file.written.endswith("last\n")


def test_file_that_fails_harms_nobody():
    file = File()
    file.flush = lambda: (_ for _ in ()).throw(BrokenPipeError())
    writer = LineWriter(file)
    for _ in range(2):
        writer.put("into nothing\n")
        writer.close()
    assert writer._size == 0


def test_lines_are_written_whole_into_a_pipe():
    pieces = []
    file = File()
    file.write = pieces.append
    lines = [f"{number} {'é' * (number % 700)}\n" for number in range(900)] + ["x" * 10_000 + "\n"]
    writer = LineWriter(file)
    writer.put("".join(lines))
    writer.close()
    assert "".join(pieces) == "".join(lines)
    assert all(len(piece.encode()) <= 4096 or piece.count("\n") == 1 for piece in pieces)
    assert all(piece.endswith("\n") for piece in pieces)
    assert len(pieces) < 300


def test_process_waits_for_a_stuck_reader_only_so_long(monkeypatch):
    monkeypatch.setattr(line_writer, "CLOSE_WITHIN", 0.01)
    file = File()
    file.let.clear()
    writer = LineWriter(file)
    writer.put("never read\n")
    writer.close()
    assert file.written == ""
    file.let.set()

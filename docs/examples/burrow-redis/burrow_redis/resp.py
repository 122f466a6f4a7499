"""
Reads the protocol of Redis (RESP2, RESP3 and inline commands) as it passes. No I/O.

Both readers get bytes that are cut anywhere, and keep less than L{MAX_LINE} of them: large values pass in
pieces. CommandReader is stricter than Redis: what the two could read differently is L{Malformed}.
"""

import re

MAX_LINE = 16 * 1024
"""Bytes of an inline command, at most."""

MAX_NAME, MAX_FIRST = 64, 256
"""Bytes of a command's name, at most, and of its first argument that are kept."""

MAX_ERROR = 1024
"""Bytes of an error that is given whole."""

MAX_DEPTH = 32
"""Lists in lists, at most."""

_LENGTH = re.compile(rb"0|[1-9][0-9]{0,9}")
_WORD = re.compile(rb"[A-Za-z0-9_.|-]{1,64}")


class Malformed(Exception):
    """The bytes are not what they should be, or could be read in two ways."""


class Command:
    """
    @ivar name: in upper case; empty if it is none. @ivar first: the first argument, or its beginning.
    """

    def __init__(self, words):
        name = words[0] if words else b""
        self.name = name.decode().upper() if _WORD.fullmatch(name) else ""
        self.first = words[1] if len(words) > 1 else b""

    @property
    def key(self):
        """The first argument for people: a key, mostly."""
        return self.first.decode("utf-8", "backslashreplace")


class CommandReader:
    """Reads what a visitor sends."""

    def __init__(self):
        self._data = bytearray()
        self._arguments = 0  # of the present command, that have not come yet
        self._left = None  # bytes of the present argument; None before its length has come
        self._new = True  # nothing of the present argument was taken
        self._words = []  # the first two arguments
        self._raw = bytearray()  # what was taken, and not given yet

    def feed(self, data):
        """
        Read on.

        @return: yields (bytes, command): the command with its first bytes, None with those that follow. The
            bytes are those that came, except what stands for no command.
        @raise Malformed: nothing more can be read.
        """
        self._data += data
        while self._data:
            found = []
            going_on = self._step(found)
            yield from found
            if not going_on:
                return

    def _step(self, found):
        """Read one thing. @return: whether it was there."""
        if self._arguments:
            return self._read_length() if self._left is None else self._read_argument(found)
        if self._data[:1] == b"*":
            return self._read_count()
        return self._read_inline(found)

    def _line(self, most):
        """Take a line with its end; None if it is not whole."""
        end = self._data.find(b"\n", 0, most)
        if end < 0:
            if len(self._data) >= most:
                raise Malformed("a line is too long")
            return None
        line = bytes(self._data[: end + 1])
        del self._data[: end + 1]
        return line

    def _number(self, kind):
        line = self._line(16)
        if line is None:
            return None
        if line[:1] != kind or line[-2:] != b"\r\n" or not _LENGTH.fullmatch(line[1:-2]):
            raise Malformed(f"{line!r} is no length")
        number = int(line[1:-2])
        if number or kind == b"$":  # a command of nothing is none
            self._raw += line
        return number

    def _read_count(self):
        count = self._number(b"*")
        if count is not None:
            self._arguments, self._words = count, []
        return count is not None

    def _read_length(self):
        self._left, self._new = self._number(b"$"), True
        return self._left is not None

    def _read_argument(self, found):
        if self._new and len(self._words) < 2:
            kept = min(self._left, MAX_FIRST)
            if len(self._data) < kept:
                return False
            self._words.append(bytes(self._data[:kept]))
            self._take(kept)
            if self._left and len(self._words) == 1:  # too long for a name: it is not waited for
                self._words.append(b"")
            if len(self._words) == 2 or self._arguments == 1:
                self._give(found, Command(self._words))
        self._new = False
        self._take(min(self._left, len(self._data)))
        whole = not self._left and len(self._data) >= 2
        if whole:
            if self._data[:2] != b"\r\n":
                raise Malformed("an argument is longer than its length")
            self._left = 2
            self._take(2)
            self._left, self._arguments = None, self._arguments - 1
        if len(self._words) == 2 or not self._arguments:
            self._give(found, None)
        return whole

    def _take(self, count):
        self._raw += self._data[:count]
        del self._data[:count]
        self._left -= count

    def _give(self, found, command):
        if self._raw:
            found.append((bytes(self._raw), command))
            self._raw.clear()

    def _read_inline(self, found):
        line = self._line(MAX_LINE)
        if line is None:
            return False
        if b"\0" in line:
            raise Malformed("a command has a zero byte")
        words = line.split()
        if words:
            found.append((line, Command([words[0], *(word[:MAX_FIRST] for word in words[1:2])])))
        return True


class Reply:
    """@ivar kind: its first byte. @ivar error: of an error, its text; else empty."""

    def __init__(self, kind, line):
        self.kind = kind
        self.error = line[1:-2].decode("utf-8", "backslashreplace") if kind == b"-" else ""


class ReplyReader:
    """Reads what Redis answers."""

    def __init__(self):
        self._data = b""
        self._kind = b""  # of the present reply
        self._skip = 0  # bytes to pass unread
        self._in_line = False  # within a long line
        self._open = []  # of each list that is open: values to come, and whether it is a value itself

    def feed(self, data):
        """
        Read on.

        @return: a list of (bytes, reply): the reply with its last bytes, None with those before. All bytes
            are those that came. An error of up to L{MAX_ERROR} bytes is in one piece.
        @raise Malformed: nothing more can be read.
        """
        data, self._data = self._data + data, b""
        found = []
        start = at = 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                at, self._skip = at + step, self._skip - step
                if self._skip:
                    break
                start = self._ended(found, data, start, at, b"")
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                at = self._wait(data, at)
                break
            line, begin, at = data[at : end + 2], at, end + 2
            if self._in_line:
                self._in_line = False
                start = self._ended(found, data, start, at, b"")
                continue
            if not self._open:
                if start < begin:  # what was said of the value: an error is in one piece
                    found.append((data[start:begin], None))
                    start = begin
                self._kind = line[:1]
            if self._value(line):
                start = self._ended(found, data, start, at, line)
        if start < at:
            found.append((data[start:at], None))
        self._data = data[at:]
        return found

    def _wait(self, data, at):
        """A line is not whole. @return: up to where its bytes may pass."""
        if len(data) - at <= MAX_ERROR:
            return at
        if not self._in_line:
            if not self._open:
                self._kind = data[at : at + 1]
            if data[at : at + 1] not in b"+-,(":
                raise Malformed("a length is too long")
            self._in_line = True
        return len(data) - 1  # a "\r" may be the first half of its end

    def _value(self, line):
        """A value begins. @return: whether it is whole with its line."""
        kind = line[:1]
        if kind in b"+-:,(#_":
            return True
        try:
            size = int(line[1:-2])
        except ValueError:
            raise Malformed(f"{line[:20]!r} is no length") from None
        if kind in b"$=!":
            self._skip = size + 2 if size >= 0 else 0
            return size < 0
        if kind in b"*~>%|":
            if len(self._open) >= MAX_DEPTH:
                raise Malformed("lists are too deep")
            if size > 0:
                self._open.append([size * 2 if kind in b"%|" else size, kind != b"|"])
            return size <= 0 and kind != b"|"
        raise Malformed(f"no value begins with {kind!r}")

    def _ended(self, found, data, start, at, line):
        """A value is whole. @return: where the next piece begins."""
        while self._open:
            self._open[-1][0] -= 1
            if self._open[-1][0] > 0:
                return start
            if not self._open.pop()[1]:  # what was said of a value: the value itself follows
                return start
        found.append((data[start:at], Reply(self._kind, line)))
        return at

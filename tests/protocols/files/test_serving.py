"""Tests for L{burrow.protocols.files.serving}, and what is answered: a stream in memory, a real folder."""

import os
import re

from twisted.internet.defer import Deferred, execute
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import ConfigError
from burrow.protocols.files import listing
from burrow.protocols.files.kind import FilesProtocol, Folder
from burrow.protocols.files.listing import link
from burrow.protocols.files.media import media_type
from burrow.protocols.files.serving import AT_ONCE, BLOCK, FilesServer, Threads
from burrow.protocols.files.tree import Root
from tests.files import folder_of


class Case(SynchronousTestCase):
    """A folder, and a stream to it."""

    def setUp(self):
        self.folder = folder_of(self)
        (self.folder / "a.txt").write_text("hello")
        (self.folder / "sub").mkdir()
        self.begin()

    def begin(self, only="", listed=True, run=execute):
        self.transport = StringTransport()
        self.server = FilesServer(Root(self.folder, only), listed, run)
        self.server.makeConnection(self.transport)

    def ask(self, target, method="GET", **fields):
        """@return: the status, the fields and the body of the answer."""
        self.transport.clear()
        lines = [f"{method} {target} HTTP/1.1", "Host: x"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        self.server.dataReceived("\r\n".join([*lines, "", ""]).encode())
        return self.answer()

    def answer(self):
        head, _, body = self.transport.value().partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


class Answers(Case):
    def test_a_file(self):
        status, fields, body = self.ask("/a.txt?some=query")
        self.assertEqual((status, body), (200, b"hello"))
        self.assertEqual(fields["Content-Length"], "5")
        self.assertEqual(fields["Content-Type"], "text/plain; charset=utf-8")
        self.assertEqual(fields["X-Content-Type-Options"], "nosniff")
        self.assertEqual(fields["Accept-Ranges"], "bytes")
        self.assertIn("Last-Modified", fields)
        self.assertFalse(self.transport.disconnecting)
        self.assertEqual(self.ask("/a.txt", If_None_Match=fields["ETag"])[::2], (304, b""))
        self.assertEqual(self.ask("/a.txt", If_Match='"x"')[0], 412)

    def test_head_has_the_same_fields_and_nothing_behind(self):
        for target in ("/a.txt", "/", "/none"):
            status, fields, _body = self.ask(target)
            head = self.ask(target, "HEAD")
            fields.pop("Date"), head[1].pop("Date")
            self.assertEqual(head, (status, fields, b""))

    def test_ranges(self):
        status, fields, body = self.ask("/a.txt", Range="bytes=1-2")
        self.assertEqual((status, fields["Content-Range"], body), (206, "bytes 1-2/5", b"el"))
        status, fields, body = self.ask("/a.txt", Range="bytes=9-")
        self.assertEqual((status, fields["Content-Range"]), (416, "bytes */5"))
        self.assertEqual(self.ask("/a.txt", "HEAD", Range="bytes=1-2")[0], 200)
        status, fields, body = self.ask("/a.txt", Range="bytes=0-0,-2")
        boundary = fields["Content-Type"].removeprefix("multipart/byteranges; boundary=")
        self.assertEqual(int(fields["Content-Length"]), len(body))
        parts = body.split(b"--" + boundary.encode())
        self.assertEqual(parts[-1], b"--\r\n")
        self.assertEqual(
            [part.strip().split(b"\r\n\r\n") for part in parts[1:-1]],
            [
                [b"Content-Type: text/plain; charset=utf-8\r\nContent-Range: bytes 0-0/5", b"h"],
                [b"Content-Type: text/plain; charset=utf-8\r\nContent-Range: bytes 3-4/5", b"lo"],
            ],
        )

    def test_other_methods(self):
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"):
            status, fields, _ = self.ask("/a.txt", method)
            self.assertEqual((status, fields["Allow"]), (405, "GET, HEAD"))

    def test_a_request_with_a_body_is_the_last(self):
        status, fields, _ = self.ask("/a.txt", "POST", Content_Length="5")
        self.assertEqual((status, fields["Connection"]), (405, "close"))
        self.assertTrue(self.transport.disconnecting)

    def test_what_is_no_request(self):
        self.server.dataReceived(b"nonsense\r\n\r\n")
        self.assertEqual(self.answer()[0], 400)
        self.assertTrue(self.transport.disconnecting)

    def test_folders(self):
        self.assertEqual(self.ask("/sub?a=b")[1]["Location"], "/sub/?a=b")
        self.assertEqual(self.ask("/sub")[0], 301)
        (self.folder / "sub" / "index.html").write_text("<p>")
        status, fields, body = self.ask("/sub/")
        self.assertEqual((status, fields["Content-Type"], body), (200, "text/html; charset=utf-8", b"<p>"))
        self.assertEqual(self.ask("/a.txt/")[0], 404)
        self.assertEqual(self.ask("//sub")[0], 404)  # and no redirect to a host of that name

    def test_no_listing(self):
        self.begin(listed=False)
        self.assertEqual(self.ask("/")[0], 404)
        self.assertEqual(self.ask("/a.txt")[0], 200)

    def test_one_file(self):
        self.begin(only="a.txt")
        self.assertEqual(self.ask("/")[1]["Location"], "/a.txt")
        self.assertEqual(self.ask("/a.txt")[2], b"hello")
        self.assertEqual(self.ask("/sub/")[0], 404)

    def test_a_file_that_may_not_be_read(self):
        def refuse(function, *arguments):
            with self.patched_open():
                return execute(function, *arguments)

        self.begin(run=refuse)
        status, _, body = self.ask("/a.txt")
        self.assertEqual((status, body), (403, b"This file cannot be read: the agent's user may not.\n"))

    def patched_open(self):
        from unittest.mock import patch

        real = os.open

        def opened(path, *arguments, **options):
            if path == "a.txt":
                raise PermissionError(13, "Permission denied")
            return real(path, *arguments, **options)

        return patch.object(os, "open", opened)

    def test_a_folder_that_is_gone(self):
        os.rename(self.folder, folder_of(self) / "elsewhere")
        self.assertEqual(self.ask("/")[0], 404)

    def test_no_descriptor(self):
        def fail(function, *arguments):
            from unittest.mock import patch

            with patch.object(os, "open", side_effect=OSError(24, "Too many open files")):
                return execute(function, *arguments)

        self.begin(run=fail)
        self.assertEqual(self.ask("/a.txt")[0], 503)


class Listings(Case):
    def page(self, target="/"):
        status, _fields, body = self.ask(target)
        self.assertEqual(status, 200)
        return body.decode()

    def links(self, target="/"):
        return re.findall(r'<tr><td><a href="([^"]*)"', self.page(target))

    def test_order_and_what_is_left_out(self):
        for name in ("B.txt", ".hidden", "zoo.d"):
            (self.folder / name).write_text("x")
        (self.folder / "z").mkdir()
        os.symlink("..", self.folder / "out")
        os.symlink("z", self.folder / "inside")
        os.symlink("nothing", self.folder / "dangling")
        os.mkfifo(self.folder / "fifo")
        self.assertEqual(self.links(), ["/inside/", "/sub/", "/z/", "/a.txt", "/B.txt", "/zoo.d"])
        self.assertEqual(self.links("/sub/"), ["../"])
        self.assertIn("This folder is empty.", self.page("/sub/"))

    def test_names_are_escaped(self):
        names = [
            '<script>alert("1")</script>'.replace("/", "|"),
            "a&b'c",
            "\x1b[2J\n",
            "?q#f%41",
            "\u202egpj.exe",
        ]
        for name in names:
            (self.folder / "sub" / name).write_text("x")
        with open(os.fsencode(self.folder / "sub") + b"/\xff\xfe", "w"):
            pass
        page = self.page("/sub/")
        for bad in ("<script", "b'c<", "\x1b", "\u202e"):
            self.assertNotIn(bad, page)
        self.assertIn("&lt;script&gt;", page)
        self.assertIn("\\xff\\xfe", page)
        links = self.links("/sub/")[1:]
        self.assertEqual(len(links), len(names) + 1)
        for target in links:
            self.assertEqual(self.ask(target)[0], 200, target)

    def test_many_entries(self):
        self.patch(listing, "MAX_SHOWN", 3)
        for name in "bcdef":
            (self.folder / name).write_text("")
        self.assertEqual(self.links(), ["/sub/", "/a.txt", "/b"])
        self.assertIn("3 of 7 entries are shown.", self.page())

    def test_no_script_runs(self):
        policy = self.ask("/")[1]["Content-Security-Policy"]
        self.assertTrue(policy.startswith("default-src 'none'; style-src 'sha256-"))

    def test_a_link_never_begins_with_two_slashes(self):
        self.assertEqual(link([]), "/")
        self.assertEqual(link(["a/b", "c"]), "/a%2Fb/c/")


class Flow(Case):
    """How a file passes: by one block at a time, as the stream takes it."""

    def setUp(self):
        super().setUp()
        self.data = os.urandom(BLOCK * 2 + 100)
        (self.folder / "big").write_bytes(self.data)
        self.runs = []
        self.begin(run=self.run_later)

    def run_later(self, function, *arguments):
        done = Deferred()
        self.runs.append((done, function, arguments))
        return done

    def step(self):
        done, function, arguments = self.runs.pop(0)
        done.callback(function(*arguments))

    def ask_big(self):
        self.server.dataReceived(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        self.step()

    def test_pauses(self):
        self.ask_big()
        self.assertIs(self.transport.producer, self.server)
        self.server.pauseProducing()
        self.step()
        self.assertEqual(len(self.answer()[2]), BLOCK)
        self.assertEqual(self.runs, [])  # nothing is read ahead
        self.server.resumeProducing()
        self.step()
        self.step()
        self.assertEqual(self.answer()[2], self.data)
        self.assertIsNone(self.transport.producer)

    def test_a_file_that_grows_is_sent_as_it_was(self):
        self.ask_big()
        with open(self.folder / "big", "ab") as file:
            file.write(b"more")
        while self.runs:
            self.step()
        self.assertEqual(self.answer()[2], self.data)
        self.assertFalse(self.transport.disconnected)

    def test_a_file_that_becomes_shorter_is_no_whole_one(self):
        self.ask_big()
        os.truncate(self.folder / "big", 100)
        while self.runs:
            self.step()
        self.assertEqual(self.answer()[2], self.data[:100])
        self.assertTrue(self.transport.disconnected)

    def test_a_file_that_is_replaced_is_sent_as_it_was(self):
        self.ask_big()
        (self.folder / "new").write_text("new")
        os.replace(self.folder / "new", self.folder / "big")
        while self.runs:
            self.step()
        self.assertEqual(self.answer()[2], self.data)

    def test_a_visitor_that_leaves(self):
        for wait in (False, True):
            self.begin(run=self.run_later)
            before = set(os.listdir("/proc/self/fd"))
            self.ask_big()
            if wait:
                self.server.pauseProducing()
                self.step()
            self.server.connectionLost()
            while self.runs:
                self.step()
            self.assertEqual(set(os.listdir("/proc/self/fd")), before)

    def test_a_visitor_that_leaves_before_the_file_is_open(self):
        before = set(os.listdir("/proc/self/fd"))
        self.server.dataReceived(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        self.server.connectionLost()
        self.step()
        self.assertEqual((self.runs, self.transport.value()), ([], b""))
        self.assertEqual(set(os.listdir("/proc/self/fd")), before)

    def test_requests_in_a_row_and_a_half_close(self):
        self.server.dataReceived(b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        self.server.readConnectionLost()
        self.assertFalse(self.transport.disconnecting)
        while self.runs:
            self.assertEqual(len(self.runs), 1)
            self.step()
        self.assertEqual(self.transport.value().count(b"hello"), 2)
        self.assertTrue(self.transport.disconnecting)

    def test_what_is_sent_behind_a_request_is_bounded(self):
        self.server.dataReceived(b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n")
        self.server.dataReceived(b"x" * 70000)
        self.assertEqual(self.transport.producerState, "paused")


class _Reactor:
    """A reactor with threads of its own, which run when the test says so."""

    def __init__(self):
        self.begun = []

    def getThreadPool(self):
        return self

    def callFromThread(self, function, *arguments):
        function(*arguments)

    def callInThreadWithCallback(self, done, function, *arguments):
        self.begun.append(lambda: done(True, function(*arguments)))


class ThreadsOfAReactor(SynchronousTestCase):
    def test_a_few_at_a_time_and_each_reactors_apart(self):
        one, other = _Reactor(), _Reactor()
        running = [Threads.run(one, pow, 2, number) for number in range(AT_ONCE + 2)]
        beside = Threads.run(other, pow, 3, 3)
        self.assertEqual((len(one.begun), len(other.begun)), (AT_ONCE, 1))
        for step in range(AT_ONCE + 2):
            one.begun[step]()
        self.assertEqual([self.successResultOf(each) for each in running], [1, 2, 4, 8, 16, 32])
        other.begun[0]()
        self.assertEqual(self.successResultOf(beside), 27)


class Upstreams(Case):
    """What a person names."""

    def parse(self, text):
        return FilesProtocol().parse_upstream(str(text))

    def test_a_folder_or_a_file(self):
        folder = self.parse(f"{self.folder}/sub/..")
        self.assertEqual(folder, Folder(self.folder))
        self.assertEqual(str(folder), str(self.folder))
        self.assertEqual(self.parse(self.folder / "a.txt"), Folder(self.folder, "a.txt"))
        self.assertEqual(str(self.parse(self.folder / "a.txt")), f"{self.folder}/a.txt")

    def test_what_is_neither(self):
        (self.folder / ".env").write_text("")
        os.mkfifo(self.folder / "fifo")
        for text, words in (
            ("", "write its path"),
            ("3000", "for a service on port 3000 write burrow http 3000"),
            (self.folder / "none", "there is no folder"),
            (self.folder / ".env", "a dot before it"),
            (self.folder / "fifo", "neither a folder nor a file"),
            (self.folder / "\x1b", "rename the folder"),
            (self.folder / ("x" * 300), "is too long"),
        ):
            with self.assertRaises(ConfigError) as caught:
                self.parse(text)
            self.assertIn(words, str(caught.exception))


class MediaTypes(SynchronousTestCase):
    def test_types(self):
        for name, wanted in {
            "a.html": "text/html; charset=utf-8",
            "A.JS": "text/javascript; charset=utf-8",
            "a.svg": "image/svg+xml",
            "a.tar.gz": "application/gzip",
            "a.svgz": "application/octet-stream",
            "a": "application/octet-stream",
            "a.": "application/octet-stream",
            "a.b c": "application/octet-stream",
            "a.html.x~": "application/octet-stream",
            "data:text/html,x": "application/octet-stream",
            "x.png": "image/png",
        }.items():
            self.assertEqual(media_type(name), wanted, name)

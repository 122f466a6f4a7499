"""Tunnels of kind files: a folder as a web site, without any service."""

import hashlib
import os

import pytest

from tests.e2e.harness import burrow, memory
from tests.e2e.programs import run


@pytest.fixture(scope="module")
def site(world, tmp_path_factory):
    """A folder, the agent that serves it, and the tunnel's host."""
    folder = tmp_path_factory.mktemp("files") / "site"
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / "index.html").write_text("<h1>docs</h1>")
    (folder / "a&b.txt").write_text("hello")
    (folder / ".env").write_text("hidden")
    (folder.parent / "secret").write_text("secret")
    os.symlink("../secret", folder / "out")
    agent = world.agent("files", folder, "--name", "folder")
    agent.ready()
    return folder, agent


def test_pages_and_files(world, site):
    _, agent = site
    status, fields, body = world.get(agent.host)
    assert (status, fields["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b'<a href="/docs/">docs/</a>' in body
    assert b'<a href="/a%26b.txt">a&amp;b.txt</a>' in body
    assert b"env" not in body
    assert b"out" not in body
    status, fields, body = world.get(agent.host, "/a%26b.txt")
    assert (status, body, fields["X-Content-Type-Options"]) == (200, b"hello", "nosniff")
    assert world.get(agent.host, "/a%26b.txt", If_None_Match=fields["ETag"])[0] == 304
    status, fields, body = world.get(agent.host, "/a%26b.txt", Range="bytes=1-3")
    assert (status, fields["Content-Range"], body) == (206, "bytes 1-3/5", b"ell")
    status, fields, body = world.get(agent.host, "/a%26b.txt", method="HEAD")
    assert (status, fields["Content-Length"], body) == (200, "5", b"")
    status, fields, _ = world.get(agent.host, "/docs")
    assert (status, fields["Location"]) == (301, "/docs/")
    assert world.get(agent.host, "/docs/")[2] == b"<h1>docs</h1>"
    assert world.get(agent.host, "/a%26b.txt", method="POST", body=b"x")[0] == 405


@pytest.mark.parametrize(
    "path",
    ["/out", "/.env", "/%2eenv", "/../secret", "/%2e%2e/secret", "/..%2fsecret", "/..%5csecret", "/a%00"],
)
def test_no_way_out(world, site, path):
    _, agent = site
    request = f"GET {path} HTTP/1.1\r\nHost: {agent.host}\r\nConnection: close\r\n\r\n"
    status, _, body = world.raw(agent.host, request.encode())
    assert status == 404
    assert b"hidden" not in body
    assert b"secret" not in body.replace(path.encode(), b"")


def test_a_big_file_passes_whole_and_without_memory(world, site):
    folder, agent = site
    digest, block = hashlib.sha256(), os.urandom(1024 * 1024)
    with open(folder / "big.bin", "wb") as file:
        for number in range(200):
            piece = number.to_bytes(4, "big") + block[4:]
            digest.update(piece)
            file.write(piece)
    before = memory(agent.program.process.pid)
    visitor = world.connect(agent.host)
    visitor.sendall(f"GET /big.bin HTTP/1.1\r\nHost: {agent.host}\r\nConnection: close\r\n\r\n".encode())
    got, head, most = hashlib.sha256(), b"", 0
    while b"\r\n\r\n" not in head:
        head += visitor.recv(65536)
    head, _, data = head.partition(b"\r\n\r\n")
    data = data or visitor.recv(65536)
    assert b"Content-Length: 209715200" in head
    count = 0
    while data:
        got.update(data)
        count += len(data)
        if count // 50_000_000 != (count - len(data)) // 50_000_000:
            most = max(most, memory(agent.program.process.pid) - before)
        data = visitor.recv(262144)
    visitor.close()
    assert got.digest() == digest.digest()
    assert most < 60 * 1024 * 1024
    os.unlink(folder / "big.bin")


def test_what_cannot_be_served_is_refused(world, site):
    folder, _ = site
    program = burrow("files", folder / "none", env=world.env)
    world.started.append(program)
    assert program.wait() == 78
    assert (
        f"there is no folder {folder}/none: write one that there is, as in burrow files ." in program.output
    )


def test_a_program_serves_a_folder(world, site):
    folder, _ = site
    code = """
with burrow.forward(sys.argv[1], kind="files", name="program") as tunnel:
    print(get(tunnel.url + "/a%26b.txt"))
print([thread.name for thread in threading.enumerate()])
"""
    program = run(world, code, folder)
    assert program.wait() == 0, program.output
    assert program.lines == ["b'hello'", "['MainThread']"]

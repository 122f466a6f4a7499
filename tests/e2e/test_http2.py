"""HTTP/2 from visitors, by a real client: see docs/http2.md."""

import hashlib
import subprocess

import pytest

from tests.e2e.harness import World, reply, reply_digest, send_bytes
from tests.programs import program


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"), http2=True)
    world.start_server()
    world.env["BURROW_TOKEN"] = world.token()
    yield world
    world.close()


def own_host(world):
    return world.env["BURROW_SERVER"].split("//")[1].split(":")[0]


def curl(world, host, path, *options):
    """What was answered, and the version of HTTP."""
    command = [
        program("curl"),
        "-sS",
        "--http2",
        "--cacert",
        world.ca_file,
        "-w",
        "\n%{http_version} %{http_code}",
    ]
    command += ["--resolve", f"{host}:{world.https}:127.0.0.1", f"https://{host}:{world.https}{path}"]
    done = subprocess.run([*map(str, command), *map(str, options)], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    body, _, told = done.stdout.rpartition(b"\n")
    return body, told.decode()


def test_requests_bodies_and_pages(world, upstream, tmp_path):
    agent = world.agent(
        "http", upstream(lambda handler: reply(handler, handler.headers["Via"].encode())).port
    )
    body, told = curl(world, agent.host, "/")
    assert told == "2 200"
    assert body.startswith(b"2.0 ")
    sent = tmp_path / "sent"
    sent.write_bytes(bytes(range(256)) * 40_000)
    digests = world.agent("http", upstream(reply_digest).port)
    body, told = curl(world, digests.host, "/", "-T", sent)
    assert (body.decode(), told) == (hashlib.sha256(sent.read_bytes()).hexdigest(), "2 200")
    large = world.agent("http", upstream(lambda handler: send_bytes(handler, 10 << 20, b"x" * 65536)).port)
    body, told = curl(world, large.host, "/")
    assert (len(body), told) == (10 << 20, "2 200")
    assert curl(world, f"nobody.{own_host(world)}", "/", "-k")[1] == "2 404"


def test_the_servers_own_host_speaks_http_1(world):
    assert curl(world, own_host(world), "/_burrow/health")[1].startswith("1.1 ")

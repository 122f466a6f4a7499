"""A server whose state is in a real Redis, and a Redis that is not always there."""

import collections
import os
import signal
import socket

import pytest

from tests.e2e.harness import PATIENCE, World, burrow, reply, wait_for
from tests.e2e.relay import Relay
from tests.redis import RedisServer


@pytest.fixture
def redis():
    server = RedisServer()
    yield server
    server.go_on()
    server.stop()


@pytest.fixture
def redis_world(redis, tmp_path, request):
    workers = str(getattr(request, "param", 1))
    world = World(tmp_path / "world", store=f"redis://127.0.0.1:{redis.port}/0", workers=workers)
    world.start_server()
    created = burrow("token", "create", "test", "--store", world.options["store"])
    assert created.wait() == 0, created.output
    world.env["BURROW_TOKEN"] = created.lines[-1]
    yield world
    world.close()


@pytest.fixture
def hello(upstream):
    return upstream(lambda handler: reply(handler, b"hello"))


def test_names_are_in_redis(redis_world, hello):
    world = redis_world
    url = world.agent("http", hello.port).url
    tcp = world.agent("tcp", hello.port).url
    assert not (world.folder / "state" / "burrow.db").exists()
    world.server.kill()
    world.server.wait()
    world.start_server()
    assert world.agent("http", hello.port).url == url
    assert world.agent("tcp", hello.port).url == tcp


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_redis_away(redis_world, redis, hello, how):
    """Tunnels that are up stay up; a new one waits, with a clear word, and opens once Redis is back."""
    world = redis_world
    running = world.agent("http", hello.port, "--name", "running")
    assert world.get(running.host)[2] == b"hello"
    world.agent("http", hello.port, "--name", "before").ready()
    world.started[-1].stop()
    if how == "killed":
        redis.stop()
    else:
        redis.pause()
    assert world.get(running.host)[2] == b"hello"
    assert world.get("unknown.localhost", sni="unknown.localhost")[0] == 503
    waiting = world.agent("http", hello.port, "--name", "waiting")
    wait_for(lambda: waiting.events("refused") or waiting.events("disconnected"), "the refusal")
    assert "store" in (waiting.events("refused") + waiting.events("disconnected"))[0]["message"]
    assert world.get(running.host)[2] == b"hello"
    # One that was reserved before is known, and needs no Redis.
    before = world.agent("http", hello.port, "--name", "before")
    assert world.get(before.host)[2] == b"hello"
    if how == "killed":
        redis.start()  # nothing was on its disk: the server writes what it knows
    else:
        redis.go_on()
    assert world.get(waiting.host)[2] == b"hello"
    assert world.get(running.host)[2] == b"hello"


def test_flushed_redis_is_filled_again(redis_world, redis, hello):
    world = redis_world
    agent = world.agent("http", hello.port, "--name", "mine")
    assert world.get(agent.host)[2] == b"hello"
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", redis.port)) as client:
            client.sendall(b"FLUSHALL\r\n")
            assert client.recv(100) == b"+OK\r\n"
        # The token is still known, and the name still its own.
        again = world.agent("http", hello.port, "--name", "again")
        assert world.get(again.host)[2] == b"hello"
        assert world.get(agent.host)[2] == b"hello"
        again.program.stop()


def all_have_looked(redis):
    """Wait until each process has asked twice for what changed: then it has learned the first answer."""
    processes = [key.decode() for key in redis.ask("HKEYS", "burrow:notes:nodes")]
    assert processes
    asked = collections.Counter()
    with (
        socket.create_connection(("127.0.0.1", redis.port), PATIENCE) as monitor,
        monitor.makefile(encoding="utf-8", errors="replace") as lines,
    ):
        monitor.sendall(b"MONITOR\r\n")
        while any(asked[process] < 2 for process in processes):
            line = lines.readline()
            if "EVALSHA" in line:
                asked.update(process for process in processes if f'"nodes" "{process}"' in line)


@pytest.mark.parametrize("redis_world", [1, 2], indirect=True)
def test_redis_starts_with_an_older_snapshot(redis_world, redis, hello):
    """What came since is known to the servers: a token goes on to work, a live name stays its owner's."""
    world = redis_world
    tokens = {}

    def create(name):
        created = burrow("token", "create", name, "--store", world.options["store"])
        assert created.wait() == 0, created.output
        tokens[name] = {"BURROW_TOKEN": created.lines[-1]}

    create("thief")
    create("leaves")
    world.agent("http", hello.port, "--name", "thiefs", **tokens["thief"]).ready()
    world.agent("http", hello.port, "--name", "leaves", **tokens["leaves"]).ready()
    redis.ask("SAVE")
    create("new")
    mine = world.agent("http", hello.port, "--name", "mine", **tokens["new"])
    assert world.get(mine.host)[2] == b"hello"
    revoked = burrow("token", "revoke", "leaves", "--store", world.options["store"])
    assert revoked.wait() == 0, revoked.output
    all_have_looked(redis)
    redis.stop()
    redis.start()
    thief = world.agent("http", hello.port, "--name", "mine", **tokens["thief"])
    gone = world.agent("http", hello.port, "--name", "leaves", **tokens["leaves"])
    again = world.agent("http", hello.port, "--name", "again", **tokens["new"])
    assert thief.program.wait() == 77
    assert "belongs to another token" in thief.program.output
    assert gone.program.wait() == 77
    assert "revoked" in gone.program.output
    assert world.get(again.host)[2] == b"hello"
    assert world.get(mine.host)[2] == b"hello"
    names = burrow("token", "list", "--store", world.options["store"])
    assert names.wait() == 0
    assert "new" in names.output
    assert "leaves" not in names.output


@pytest.mark.parametrize("redis_world", [2], indirect=True)
def test_redis_and_a_worker_start_anew_at_the_same_time(redis_world, redis, hello):
    """The new worker knows nothing and Redis has nothing: what the other one knows is waited for."""
    world = redis_world
    agents = [world.agent("http", hello.port, "--name", f"agent{number}") for number in range(4)]
    for agent in agents:
        agent.ready()
    world.server.kill()
    world.server.wait()
    world.start_server()  # both workers read what there is
    for agent in agents:
        assert world.get(agent.host)[2] == b"hello"
    first = world.workers
    redis.stop()
    os.kill(first[0], signal.SIGKILL)
    redis.start()
    wait_for(lambda: len(world.workers) == 2 and first[0] not in world.workers, "another worker")
    for _ in range(5):
        for agent in agents:
            assert world.get(agent.host)[2] == b"hello"
    assert all(agent.program.process.poll() is None for agent in agents)


def test_token_that_is_revoked_while_the_server_cannot_ask(redis, hello, tmp_path):
    """Its tunnel goes on meanwhile, and ends within 5 s of when the server can ask again."""
    line = Relay(redis.port)
    store = f"redis://127.0.0.1:{redis.port}/0"
    created = burrow("token", "create", "test", "--store", store)
    assert created.wait() == 0, created.output
    world = World(tmp_path / "world", store=f"redis://127.0.0.1:{line.port}/0")
    try:
        world.start_server()
        world.env["BURROW_TOKEN"] = created.lines[-1]
        agent = world.agent("http", hello.port)
        assert world.get(agent.host)[2] == b"hello"
        line.target = ("127.0.0.1", 1)
        line.cut()
        world.server.line("the store is away")
        assert burrow("token", "revoke", "test", "--store", store).wait() == 0
        assert world.get(agent.host)[2] == b"hello"
        line.target = ("127.0.0.1", redis.port)
        world.server.line("Redis is back")
        assert agent.program.wait(15) == 77
    finally:
        world.close()
        line.close()


def test_no_redis_at_the_start(tmp_path):
    server = burrow(
        "server", "--store", "redis://:secret@127.0.0.1:1", "--state", tmp_path, "--https", "127.0.0.1:0"
    )
    assert server.wait() == 69
    assert "does not answer" in server.output
    assert "secret" not in server.output


def test_migration_there_and_back(make_world, redis, hello, tmp_path):
    world = make_world()
    agent = world.agent("http", hello.port)
    url = agent.url
    agent.program.stop()
    world.server.stop()
    target = f"redis://127.0.0.1:{redis.port}/5"
    for _ in range(2):
        migrate = burrow("store", "migrate", target, "--state", world.folder / "state")
        assert migrate.wait() == 0, migrate.output
    assert "Copied 0 tokens, 1 name and 0 certificates" in migrate.output
    world.options["store"] = target
    world.start_server()
    assert world.agent("http", hello.port).url == url
    back = burrow("store", "migrate", tmp_path / "back", "--store", target)
    assert back.wait() == 0, back.output
    listing = burrow("token", "list", "--state", tmp_path / "back")
    assert listing.wait() == 0
    assert "test" in listing.output

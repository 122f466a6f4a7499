"""What the end-to-end tests share: one world a module, so that a server is not started for every test."""

import pytest

from tests.e2e.harness import TcpUpstream, Upstream, World, burrow
from tests.redis import RedisServer


@pytest.fixture(scope="module")
def world(request, tmp_path_factory):
    """
    A server on the loopback with certificates of its own CA, and a token in the environment of agents. A
    module's WORLD has options of the server.
    """
    world = World(tmp_path_factory.mktemp("world"), **getattr(request.module, "WORLD", {}))
    world.start_server()
    world.env["BURROW_TOKEN"] = world.token()
    yield world
    world.close()


@pytest.fixture(autouse=True)
def world_is_well(request):
    """A world that a module shares serves at the beginning of each test: a failure before is no other's."""
    if "world" in request.fixturenames:
        request.getfixturevalue("world").revive()


@pytest.fixture
def make_world(tmp_path):
    """Makes worlds with options of their own."""
    made = []

    def make(**options):
        folder = tmp_path / f"world{len(made)}"
        world = World(folder, **options)
        made.append(world)
        world.start_server()
        world.env["BURROW_TOKEN"] = world.token()
        return world

    yield make
    for world in made:
        world.close()


@pytest.fixture
def two_nodes(tmp_path):
    """The worlds of two nodes with one Redis, one token and the same ports."""
    redis, worlds = RedisServer(), []
    try:
        options = {"store": f"redis://127.0.0.1:{redis.port}", "domain": "burrow.localhost", "tls": "off"}
        for number in (1, 2):
            worlds.append(World(tmp_path / str(number), **options))
            worlds[-1].ports = worlds[0].ports
            worlds[-1].start_server()
        created = burrow("token", "create", "test", "--store", options["store"])
        assert created.wait() == 0, created.output
        for world in worlds:
            world.env["BURROW_TOKEN"] = created.lines[-1]
        yield worlds
    finally:
        for world in worlds:
            world.close()
        redis.stop()


@pytest.fixture
def upstream():
    """Makes HTTP services from functions that answer a request."""
    made = []

    def make(answer, **options):
        made.append(Upstream(answer, **options))
        return made[-1]

    yield make
    for service in made:
        service.close()


@pytest.fixture
def tcp_upstream():
    """Makes TCP services from functions that serve a socket."""
    made = []

    def make(serve, listener=None):
        made.append(TcpUpstream(serve, listener))
        return made[-1]

    yield make
    for service in made:
        service.close()

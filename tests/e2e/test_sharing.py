"""Several agents share one name: real agents that are killed and stopped, a service that ends, two nodes."""

import signal
import socket
import threading

from tests.e2e.harness import read_response, reply, wait_for


def who(name):
    return lambda handler: reply(handler, name.encode())


def bodies(world, host, count=6, **headers):
    """What so many requests are answered, each on a connection of its own."""
    answers = [world.get(host, **headers) for _ in range(count)]
    assert {status for status, _, _ in answers} == {200}, answers
    return {body.decode() for _, _, body in answers}


def test_one_is_killed_one_service_ends_and_one_leaves_in_the_middle(world, upstream):
    begun, go_on = threading.Event(), threading.Event()

    def slow(handler):
        if handler.path == "/slow":
            begun.set()
            go_on.wait(60)
        reply(handler, b"one")

    services = {"one": upstream(slow), "two": upstream(who("two")), "three": upstream(who("three"))}
    agents = {
        name: world.agent("http", service.port, "--name", "app", "--share")
        for name, service in services.items()
    }
    for agent in agents.values():
        agent.ready()
    host = agents["one"].host
    assert bodies(world, host) == {"one", "two", "three"}
    agents["two"].program.kill(signal.SIGKILL)
    agents["two"].program.wait()
    assert bodies(world, host) <= {"one", "two", "three"}  # each is answered
    wait_for(lambda: bodies(world, host) == {"one", "three"}, "the one that was killed to be left out")
    services["three"].close()
    assert bodies(world, host) == {"one"}
    agents["three"].program.kill(signal.SIGKILL)
    agents["three"].program.wait()
    passed = threading.Event()

    def fast(handler):
        passed.set()
        reply(handler, b"again")

    again = world.agent("http", upstream(fast).port, "--name", "app", "--share")
    again.ready()
    wait_for(lambda: bodies(world, host) == {"one", "again"}, "the new one to take part")
    with world.connect(host) as visitor:
        while not begun.is_set():  # until it is the one that is about to leave
            passed.clear()
            visitor.sendall(f"GET /slow HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            wait_for(lambda: begun.is_set() or passed.is_set(), "one of both to be asked")
            if passed.is_set():
                assert read_response(visitor)[2] == b"again"
        agents["one"].program.kill(signal.SIGTERM)
        wait_for(lambda: bodies(world, host) == {"again"}, "no more visitors to come to the one that leaves")
        go_on.set()
        assert read_response(visitor)[2] == b"one"
    assert agents["one"].program.wait() == 0
    assert bodies(world, host) == {"again"}


def test_two_nodes_and_a_port(two_nodes, upstream, tcp_upstream):
    for world, name in zip(two_nodes, ("one", "two"), strict=True):
        port = upstream(who(name)).port
        world.agent("http", port, "--name", "app", "--share", "--sticky").ready()
        port = tcp_upstream(lambda visitor, name=name: visitor.sendall(name.encode())).port
        agent = world.agent("tcp", port, "--name", "db", "--share")
        tcp = int(agent.ready()[0]["url"].rpartition(":")[2])
    host = "app.burrow.localhost"
    for world in two_nodes:
        wait_for(lambda world=world: bodies(world, host) == {"one", "two"}, "agents of both nodes")
    for world in two_nodes:
        _, headers, body = world.get(host)
        cookie = headers["Set-Cookie"].partition(";")[0]
        for other in two_nodes:
            assert bodies(other, host, Cookie=cookie) == {body.decode()}

    def greetings():
        found = set()
        for _ in range(4):
            with socket.create_connection(("127.0.0.1", tcp), 30) as visitor:
                found.add(visitor.recv(100).decode())
        return found

    wait_for(lambda: greetings() == {"one", "two"}, "agents of both nodes at the port")

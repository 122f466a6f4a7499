"""Burrow inside Python programs: in a script, under asyncio and Twisted, in threads, and their ends."""

import signal
import socket

import pytest

from tests.e2e.harness import reply, wait_for
from tests.e2e.programs import run


@pytest.fixture
def hello(upstream):
    return upstream(lambda handler: reply(handler, b"hello"))


def test_a_script_asks_and_replays(world, hello):
    code = """
with burrow.forward(int(sys.argv[1]), name="script") as tunnel:
    print(tunnel.name, tunnel.url)
    assert get(tunnel.url + "/path", data=b"body") == b"hello"
    wait_for(lambda: tunnel.requests and tunnel.requests[-1].ended)
    seen = tunnel.requests[-1]
    print(seen.method, seen.path, seen.url == tunnel.url + "/path", seen.body)
    print(seen.status, seen.response_body)
    again = seen.replay(method="PUT")
    print(again.method, again.status, again.data["replay_of"] == seen.id, len(tunnel.requests))
    try:
        seen.replay(port=0)
    except burrow.BurrowError as error:
        print(error)
print(tunnel.closed, [thread.name for thread in threading.enumerate()])
"""
    program = run(world, code, hello.port)
    assert program.wait() == 0, program.output
    assert program.lines == [
        f"script https://script.localhost:{world.https}",
        "POST /path True b'body'",
        "200 b'hello'",
        "PUT 200 True 2",
        "The port is not possible: write a port, 1 to 65535.",
        "True ['MainThread']",
    ]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_listener_that_is_closed_delivers_what_was_sent(world, asynchronous):
    """The answer is in the buffers of the way when the program leaves its block."""
    code = """
import asyncio
data = bytes(150_000)
def listen():
    with burrow.listen("tcp") as listener:
        print(listener.url, flush=True)
        with listener.accept() as sock:
            assert sock.recv(5) == b"hello"
            sock.sendall(data)
async def alisten():
    async with burrow.alisten("tcp") as listener:
        print(listener.url, flush=True)
        reader, writer, _ = await listener.accept()
        assert await reader.readexactly(5) == b"hello"
        writer.write(data)
        writer.close()
        await writer.wait_closed()
asyncio.run(alisten()) if sys.argv[1] == "True" else listen()
print([thread.name for thread in threading.enumerate()])
"""
    program = run(world, code, asynchronous)
    port = int(program.line(r"tcp://localhost:(\d+)")[1])
    with socket.create_connection(("127.0.0.1", port), 60) as visitor:
        visitor.sendall(b"hello")
        got = 0
        while data := visitor.recv(65_536):
            got += len(data)
        assert got == 150_000
    assert program.wait() == 0, program.output
    assert program.lines[1:] == ["['MainThread']"]


def test_asyncio_and_threads_and_a_loop_that_blocks(world, hello):
    code = """
import asyncio
port = int(sys.argv[1])
async def main():
    async with burrow.aforward(port, name="one") as one:
        with burrow.forward(port, name="two") as two:
            three = await burrow.aforward(port, name="three")
            for tunnel in (one, two, three):
                assert await asyncio.to_thread(get, tunnel.url) == b"hello"
            names = [thread.name for thread in threading.enumerate() if thread.name == "burrow"]
            await three.aclose()
            await three.await_closed()
    print(names, one.closed, two.closed, len(asyncio.all_tasks()))
asyncio.run(main())
def work(number):
    with burrow.forward(port, name=f"thread{number}") as tunnel:
        assert get(tunnel.url) == b"hello"
        done.append(number)
done = []
threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sorted(done), threading.active_count())
"""
    program = run(world, code, hello.port)
    assert program.wait() == 0, program.output
    assert program.lines == ["['burrow'] True True 1", "[0, 1, 2, 3, 4] 1"]


def test_a_hundred_leave_nothing(world, hello):
    code = """
def descriptors():
    return len(os.listdir("/proc/self/fd"))
def one():
    with burrow.forward(int(sys.argv[1]), name="again") as tunnel:
        return tunnel.url
one()
before = descriptors(), threading.active_count()
assert len({one() for _ in range(100)}) == 1
wait_for(lambda: descriptors() <= before[0] and threading.active_count() <= before[1])
print("nothing is left")
"""
    program = run(world, code, hello.port)
    assert program.wait(200) == 0, program.output
    assert program.lines == ["nothing is left"]


def test_errors_have_the_command_lines_sentences(world, hello):
    code = """
for options in ({"token": "wrong"}, {"server": "http://127.0.0.1:1"}, {"kind": "tcp", "port": 1}):
    try:
        burrow.forward(int(sys.argv[1]), **options)
    except burrow.BurrowError as error:
        print(type(error).__name__, error)
print(threading.active_count())
"""
    program = run(world, code, hello.port)
    assert program.wait() == 0, program.output
    refused, unreachable, port, threads = program.lines
    assert "Refused" in refused
    assert "the token is unknown or revoked" in refused
    assert unreachable == "ServerUnreachable cannot reach http://127.0.0.1:1: connection refused"
    commanded = world.agent("tcp", hello.port, "--port", "1")
    commanded.program.wait()
    assert port.split(" ", 1)[1].split(",")[0] in commanded.program.output
    assert threads == "1"


def test_beside_twisteds_own_reactor(world, hello):
    code = """
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
before = burrow.forward(int(sys.argv[1]), name="before")  # the reactor does not run yet: a thread of its own
async def main():
    async with burrow.aforward(int(sys.argv[1]), name="twisted") as tunnel:
        assert await deferToThread(get, tunnel.url) == b"hello"
        assert await deferToThread(get, before.url) == b"hello"
        assert tunnel._home.reactor is reactor is not before._home.reactor
        try:
            burrow.forward(int(sys.argv[1]))
        except burrow.BurrowError as error:
            print(error)
        print((await deferToThread(lambda: tunnel.requests))[-1].path, tunnel.requests[-1].method)
    print(tunnel.closed)
async def early():
    async with burrow.aforward(int(sys.argv[1]), name="early") as tunnel:
        assert reactor.running
        await main()
running = Deferred.fromCoroutine(early())
running.addErrback(lambda reason: reason.printTraceback())
running.addBoth(lambda _: reactor.stop())
reactor.run()
before.close()
print("end")
"""
    program = run(world, code, hello.port)
    assert program.wait() == 0, program.output
    assert program.lines == [
        "this would stop Twisted's reactor, which is to do it: write await burrow.aforward(...)",
        "/ GET",
        "True",
        "end",
    ]


@pytest.mark.parametrize("how", ["interrupt", "exit"])
def test_the_programs_end_closes_the_session(world, hello, how):
    code = """
tunnel = burrow.forward(int(sys.argv[1]), name=sys.argv[2])
print("open", flush=True)
if sys.argv[2] == "interrupt":
    try:
        tunnel.wait_closed()
    except KeyboardInterrupt:
        print("interrupted")
"""
    program = run(world, code, hello.port, how)
    program.line("open")
    if how == "interrupt":
        program.kill(signal.SIGINT)
    assert program.wait() == 0, program.output
    assert program.lines == (["open", "interrupted"] if how == "interrupt" else ["open"])
    said = f"tunnel https://{how}.localhost:{world.https} is closed"
    wait_for(lambda: said in world.server.output, said)


def test_a_forked_process_opens_its_own(world, hello):
    code = """
parent = burrow.forward(int(sys.argv[1]), name="parent")
child = os.fork()
if child == 0:
    try:
        parent.close()
    except burrow.BurrowError as error:
        print(error, flush=True)
    with burrow.forward(int(sys.argv[1]), name="child") as tunnel:
        print(get(tunnel.url), flush=True)
    sys.exit(0)
os.waitpid(child, 0)
print(get(parent.url))
"""
    program = run(world, code, hello.port)
    assert program.wait() == 0, program.output
    error, *answers = program.lines
    assert "from which this one was forked" in error
    assert answers == ["b'hello'", "b'hello'"]


def test_it_comes_back_when_the_server_restarts(make_world, hello):
    world = make_world()
    code = """
with burrow.forward(int(sys.argv[1]), name="stays") as tunnel:
    print("open", flush=True)
    tunnel.wait_closed(60)
"""
    program = run(world, code, hello.port)
    program.line("open")
    assert world.get("stays.localhost")[2] == b"hello"
    world.server.stop()
    world.start_server()
    wait_for(lambda: world.get("stays.localhost")[2] == b"hello", "the tunnel to be back")
    program.kill(signal.SIGINT)
    program.wait()


def test_webhooks_of_a_test_at_a_public_url(world):
    code = """
from burrow.testing.webhooks import Webhooks
with Webhooks.open() as hooks:
    hooks.answer = 200, "noted"
    print(get(hooks.url + "/paid?x", data=b"body"))
    (hook,) = hooks.wait()
    print(hooks.url.startswith("https://"), hook.method, hook.path, hook.query, hook.body)
"""
    program = run(world, code)
    assert program.wait() == 0, program.output
    assert program.lines == ["b'noted'", "True POST /paid x b'body'"]

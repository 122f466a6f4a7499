"""Tests for L{burrow.program.tunnel}: tunnels that do not open, and their one end."""

import asyncio
import os
import signal
import socket
import threading

import pytest
from twisted.internet.defer import Deferred

import burrow
from burrow.client.tunnels import tunnel_request
from burrow.program.api import settings
from burrow.program.tunnel import Plan

PATIENCE = 30


@pytest.fixture
def silent():
    """A server that says nothing: its socket, and the options for it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener, {"server": f"http://127.0.0.1:{listener.getsockname()[1]}", "token": "x"}


class End:
    """A plan's end, which takes until the test says so."""

    def __init__(self):
        self.begun, self.gate, self.count = threading.Event(), Deferred(), 0

    async def __call__(self, reactor, now):
        self.count += 1
        self.begun.set()
        await self.gate


@pytest.fixture
def end():
    return End()


@pytest.fixture
def tunnel(silent, end):
    """One that does not open."""
    config, _ = settings(silent[1])
    tunnel = Plan(config, tunnel_request("http", "1", None, {}), end)._begin()
    yield tunnel
    if not tunnel.closed:
        home = tunnel._home
        home.call(lambda: end.gate.called or end.gate.callback(None))
        tunnel.close(now=True)


def settle(tunnel):
    """Give the tunnel's reactor some turns."""
    for _ in range(20):
        tunnel._home.call(lambda: None)


@pytest.mark.parametrize("later", [(True,), (False,), (True, True, False)])
def test_all_who_stop_it_wait_for_one_end(tunnel, end, later):
    asked = [tunnel._stop(True)]
    assert end.begun.wait(PATIENCE)
    asked += [tunnel._stop(now) for now in later]
    settle(tunnel)
    assert not tunnel.closed
    assert not any(one.done() for one in asked)
    tunnel._home.call(lambda: end.gate.callback(None))
    for one in asked:
        one.result(PATIENCE)
    assert tunnel.closed
    assert end.count == 1
    tunnel.close()


def test_an_end_that_fails_is_told_and_is_one(tunnel, end):
    stopped = tunnel._stop(True)
    assert end.begun.wait(PATIENCE)
    tunnel._home.call(lambda: end.gate.errback(ValueError("it fails")))
    with pytest.raises(ValueError, match="it fails"):
        stopped.result(PATIENCE)
    assert tunnel.closed


def test_a_task_that_waits_no_longer_ends_nothing(tunnel, end):
    async def main():
        waiting = [asyncio.create_task(tunnel.await_closed()), asyncio.create_task(tunnel.aclose(now=True))]
        for _ in range(3):
            await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        return await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(each) for each in asyncio.run(main())] == [asyncio.CancelledError] * 2
    assert end.begun.wait(PATIENCE)
    settle(tunnel)
    assert not tunnel.closed


class App:
    """@ivar seen: what it was told, and did. @ivar starting: called while it starts."""

    def __init__(self, starting=None, failed=False):
        self.seen = []
        self._starting = starting
        self._failed = failed

    async def __call__(self, scope, receive, send):
        while True:
            what = (await receive())["type"]
            self.seen.append(what)
            if what == "lifespan.startup" and self._starting:
                self._starting()
            for _ in range(100):
                await asyncio.sleep(0)
            self.seen.append("done")
            await send({"type": f"{what}.{'failed' if self._failed else 'complete'}"})


WHOLE = ["lifespan.startup", "done", "lifespan.shutdown", "done"]


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_while_it_opens_ends_the_app(silent):
    listener, options = silent

    def press():
        with listener.accept()[0]:
            interrupt()
            pressed.wait(PATIENCE)

    app, pressed, thread = App(), threading.Event(), threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        burrow.serving(app, **options)
    assert app.seen == WHOLE
    pressed.set()
    thread.join()


def test_ctrl_c_while_the_app_starts_ends_it_once_it_has(silent):
    app = App(interrupt)
    burrow.serve(app, **silent[1])
    assert app.seen == WHOLE


def test_an_app_that_has_not_started_is_not_ended(silent):
    app = App(failed=True)
    with pytest.raises(burrow.BurrowError, match="could not be started"):
        burrow.serving(app, **silent[1])
    assert app.seen == WHOLE[:2]


def test_a_task_that_is_cancelled_while_it_opens_ends_the_app(silent):
    listener, options = silent
    app = App()

    async def main():
        opening = asyncio.create_task(work())
        connection = await asyncio.to_thread(listener.accept)
        opening.cancel()
        with connection[0]:
            return await asyncio.gather(opening, return_exceptions=True)

    async def work():
        return await burrow.aserve(app, **options)

    (outcome,) = asyncio.run(main())
    assert isinstance(outcome, asyncio.CancelledError)
    assert app.seen == WHOLE


def test_a_task_that_is_cancelled_while_the_app_starts_ends_it(silent):
    seen = []

    async def app(scope, receive, send):
        try:
            seen.append((await receive())["type"])
            await asyncio.sleep(3600)
        finally:
            seen.append("cancelled")

    async def main():
        opening = asyncio.create_task(work())
        while not seen:
            await asyncio.sleep(0)
        opening.cancel()
        (outcome,) = await asyncio.gather(opening, return_exceptions=True)
        for _ in range(10):
            await asyncio.sleep(0)
        return outcome, list(seen)

    async def work():
        return await burrow.aserve(app, **silent[1])

    outcome, then = asyncio.run(main())
    assert isinstance(outcome, asyncio.CancelledError)
    assert then == ["lifespan.startup", "cancelled"]

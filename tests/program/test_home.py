"""Tests for L{burrow.program.home}."""

import os
import threading

import pytest

from burrow.errors import BurrowError
from burrow.program import home


@pytest.fixture
def own():
    taken = home.take()
    yield taken
    if taken.running:
        taken.release()
        taken.join()


async def answer():
    return 42


async def fail():
    raise BurrowError("it failed")


def test_work_is_done_on_the_thread(own):
    assert own.wait(own.submit(answer), "") == 42
    assert own.call(threading.get_ident) == own.thread != threading.get_ident()
    with pytest.raises(BurrowError, match="it failed"):
        own.submit(fail).result()


def test_all_share_one_thread_that_ends_with_the_last(own):
    descriptors = len(os.listdir("/proc/self/fd"))
    other = home.take()
    assert other is own
    other.release()
    assert own.submit(answer).result() == 42
    own.release()
    own.join()
    assert not own._thread.is_alive()
    assert len(os.listdir("/proc/self/fd")) < descriptors
    with pytest.raises(BurrowError, match="the tunnel is closed"):
        own.submit(answer).result()
    assert own.call(threading.get_ident) == threading.get_ident()


def test_the_thread_is_a_daemon_and_not_the_reactors_of_twisted(own):
    from twisted.internet import reactor
    from twisted.python import threadable

    own.submit(answer).result()
    assert own._thread.daemon
    assert own.reactor is not reactor
    assert threadable.ioThread != own.thread


def test_nobody_waits_on_the_reactors_thread(own):
    async def wait():
        from twisted.internet.defer import Deferred

        def late():
            return Deferred()

        async def never():
            await late()

        own.wait(own.submit(never), "await something")

    with pytest.raises(BurrowError, match="write await something"):
        own.submit(wait).result()


def test_a_coroutine_of_asyncio_waits(own):
    import asyncio

    async def main():
        return await own.outcome(own.submit(answer))

    assert asyncio.run(main()) == 42


def test_a_running_reactor_is_used(monkeypatch):
    class Running:
        running = True

    monkeypatch.setitem(__import__("sys").modules, "twisted.internet.reactor", Running)
    assert home.take().reactor is Running


def test_a_forked_process_begins_its_own(own):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            again = home.take()
            fine = again is not own and again.submit(answer).result(10) == 42
            os.write(writing, b"yes" if fine else b"no")
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"yes"
    os.waitpid(child, 0)
    assert own.submit(answer).result() == 42

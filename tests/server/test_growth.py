"""What a node asks of Redis, by what there is: its work grows with what changes. Counted, not timed."""

import attr
import pytest
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from burrow.server.nodes.cluster import Cluster
from burrow.server.nodes.members import BEAT
from burrow.server.nodes.records import LEASES, NODES, Lease, Node, to_text
from burrow.server.revoking import TokenWatch
from burrow.store.base import Reservation, Token
from burrow.store.known.store import KnownStore
from burrow.store.redis import connection
from burrow.store.redis.address import RedisAddress
from burrow.store.redis.store import RedisStore
from tests.redis import RedisServer

SECONDS = 30
TOKEN = Token("token", "laptop", "agent", b"\x01" * 32, 1.0)
AT_ONCE = 200


@attr.define
class Holder:
    token: Token


class Counted:
    """What a node does: its questions, the commands that they are for Redis, the bytes of its answers."""

    def __init__(self, redis, clock, name):
        self.redis = redis
        self.clock = clock
        self.store = KnownStore(
            clock, RedisStore(reactor, RedisAddress.parse(f"redis://127.0.0.1:{redis.port}"))
        )
        self.cluster = Cluster(clock, self.store, name, now=clock.seconds)
        self.watch = TokenWatch(clock, self.store, [Holder(TOKEN)])
        self.cluster.changes.listeners.append(self.watch.changed)
        self.name = name
        self.questions = self.waiting = 0

    async def start(self):
        await self.store.open()
        await self.cluster.join(Node(self.name, "127.0.0.1", 7000, "secret", "", "0", self.clock.seconds()))
        self.watch.start()
        redis = self.store._redis._connection
        ask = redis.ask

        async def counted(*arguments):
            self.questions += 1
            self.waiting += 1
            try:
                return await ask(*arguments)
            finally:
                self.waiting -= 1

        redis.ask = counted

    async def stop(self):
        self.watch.stop()
        await self.cluster.leave()
        await self.store.close()

    def stats(self):
        lines = self.redis.ask("INFO", "stats").decode().splitlines()
        found = dict(line.split(":", 1) for line in lines if ":" in line)
        return int(found["total_commands_processed"]), int(found["total_net_output_bytes"])

    async def count(self, seconds):
        """@return: questions, commands and bytes of answers."""
        before, self.questions = self.stats(), 0
        for _ in range(round(seconds * 10 / BEAT)):
            self.clock.advance(BEAT / 10)
            asked = -1
            while asked != self.questions or self.waiting or self.cluster._looking.locked:
                asked = self.questions
                await deferLater(reactor, 0.005)
        after = self.stats()
        return self.questions, after[0] - before[0], after[1] - before[1]


@pytest.mark.slow
class Growth(TestCase):
    timeout = (
        600  # much more than it takes; trial's own, of 120, is little for a machine with much else to do
    )

    def setUp(self):
        self.patch(connection, "TIMEOUT", 60.0)  # nothing here is timed
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)
        self.clock = Clock()
        self.clock.advance(1000)

    async def fill(self, store, names):
        """So many reservations, and as many leases of a third node."""
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            await gatherResults(
                [
                    store.reserve(Reservation(name, "http", "token", "agent", "up", None, False, 1.0))
                    for name in some
                ]
            )
            leases = [Lease(name, "third", "http", None, 1000.0, "token") for name in some]
            await gatherResults(
                [store.put_note(LEASES, lease.name, to_text(lease), 7200.0) for lease in leases]
            )

    async def measure(self, count):
        """What a node does while nothing happens, and what it does when one name changes, beside C{count}."""
        self.redis.ask("FLUSHALL")
        other, node = (Counted(self.redis, self.clock, name) for name in ("other", "node"))
        await other.start()
        self.addCleanup(other.stop)
        await other.store.add_token(TOKEN)
        await self.fill(other.store, [f"name{number}" for number in range(count)])
        third = Node("third", "127.0.0.1", 7000, "secret", "", "0", 0.0, logs=True)
        await other.store.put_note(NODES, "third", to_text(third), 7200.0)
        other.cluster._loop.stop()
        other.store._polling.stop()
        await node.start()
        await node.count(2)
        self.assertEqual(len(node.cluster.leases.theirs), count)
        idle = await node.count(SECONDS)
        lease = Lease("changed", "third", "http", None, 2000.0, "token")
        await other.store.put_note(LEASES, lease.name, to_text(lease), 7200.0)
        await other.store.reserve(Reservation("changed", "http", "token", "agent", "up", None, False, 1.0))
        one_change = await node.count(2)
        self.assertEqual(node.cluster.elsewhere("changed"), lease)
        self.assertIn("changed", node.store._records.names)
        self.assertEqual(len(node.cluster.leases.theirs), count + 1)
        await node.stop()
        return idle, one_change

    async def test_ten_names_and_ten_thousand_cost_the_same(self):
        few_idle, few_change = await self.measure(10)
        many_idle, many_change = await self.measure(10_000)
        self.assertLessEqual(many_idle[0], 2 * SECONDS)
        self.assertLessEqual(many_idle[0], few_idle[0] + 3)  # some records are checked now and then
        self.assertLessEqual(many_change[0], few_change[0])
        for few, many in ((few_idle, many_idle), (few_change, many_change)):
            self.assertLess(many[1], few[1] * 1.2 + 10)
        # Of what is known a part is looked up, which is bounded; what is idle asks for nothing else.
        self.assertLess(many_idle[2], few_idle[2] + 200_000)
        self.assertLess(many_change[2], few_change[2] * 1.2)
        print(f"idle {SECONDS} s, 10 names: {few_idle}, 10,000: {many_idle}")
        print(f"one change, 10 names: {few_change}, 10,000: {many_change}")

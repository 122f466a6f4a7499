"""Tests for L{burrow.supervisor.parent}: workers that cannot start, or start with an old configuration."""

import errno

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from burrow.addresses import ListenAddress
from burrow.server.config import ServerConfig
from burrow.supervisor import parent
from burrow.supervisor.parent import Supervisor
from tests.files import folder_of

HTTPS = ListenAddress("127.0.0.1", 0)


class Reactor(MemoryReactorClock):
    """Starts processes in name only, once C{failures} forks have failed."""

    def __init__(self):
        super().__init__()
        self.failures = 0
        self.workers = []

    def spawnProcess(self, worker, *arguments, **options):
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        worker.signals = []
        worker.signal = worker.signals.append
        self.workers.append(worker)


class Starting(SynchronousTestCase):
    def setUp(self):
        self.reactor = Reactor()
        self.config = ServerConfig(state=self.folder(), https=HTTPS, http="off")
        self.supervisor = Supervisor(self.reactor, ["burrow"], lambda: self.config, lambda line: None)
        self.supervisor._open(self.config)
        for handles in self.supervisor._sockets.values():
            for handle in handles:
                self.addCleanup(handle.close)

    def folder(self):
        return folder_of(self)

    def test_failed_forks_are_tried_again(self):
        self.reactor.failures = 3
        starting = Deferred.fromCoroutine(self.supervisor._start_again())
        self.assertNoResult(starting)
        self.assertEqual(len(self.reactor.getReaders()), 0)
        self.reactor.pump([0.5] * 10)
        self.assertEqual(len(self.reactor.workers), 1)
        self.reactor.workers[0].ready.callback([])
        self.successResultOf(starting)

    def serve(self, *numbers):
        for number in numbers:
            self.reactor.workers[number].ready.callback([])

    def kill(self, number):
        self.reactor.workers[number].processEnded(Failure(ProcessTerminated(9)))

    def serving(self):
        """How many workers serve with the configuration of now, and are not asked to end."""
        now = self.supervisor._config
        return len([each for each in self.supervisor._workers if each.config is now and not each.dismissed])

    def begin_reload_of_two(self):
        """Two workers serve, and the first new one is being started."""
        self.config = self.two()
        self.supervisor._config = self.config
        starting = Deferred.fromCoroutine(self.supervisor._start_all(self.config))
        self.serve(0, 1)
        self.successResultOf(starting)
        self.config = self.two()
        self.supervisor.reload()

    def two(self):
        return ServerConfig(state=self.config.state, https=HTTPS, http="off", workers=2)

    def test_worker_that_is_killed_during_a_reload_and_started_before_its_end(self):
        self.begin_reload_of_two()
        self.kill(0)  # 3 is started in its place, with the configuration of before
        self.serve(2, 3, 4)
        self.assertEqual([each.signals for each in self.reactor.workers], [[], ["HUP"], [], ["HUP"], []])
        self.assertEqual(self.serving(), 2)

    def test_worker_that_is_killed_during_a_reload_and_started_after_its_end(self):
        self.begin_reload_of_two()
        self.serve(2)
        self.kill(0)
        self.serve(3)  # the reload is over; 4, in place of 0, is asked to leave before it serves
        self.assertEqual(self.reactor.workers[4].signals, ["HUP"])
        for end in (lambda: self.serve(4), lambda: self.kill(4), lambda: self.reactor.pump([1] * 10)):
            end()
            self.assertEqual((self.serving(), len(self.reactor.workers)), (2, 5))

    def test_new_worker_that_is_killed_before_the_reload_is_over(self):
        self.begin_reload_of_two()
        self.serve(2)
        self.kill(2)
        self.serve(3)
        self.assertEqual(self.serving(), 2)
        self.assertIs(self.reactor.workers[4].config, self.config)

    def test_systemd_is_told_that_nobody_serves_and_that_somebody_does_again(self):
        told = []
        self.patch(parent, "notify", told.append)
        starting = Deferred.fromCoroutine(self.supervisor._start_all(self.config))
        first = self.reactor.workers[0]
        first.ready.callback([])
        self.successResultOf(starting)
        first.processEnded(Failure(ProcessTerminated(1)))
        self.assertEqual(told, ["STATUS=no server process runs; starting another"])
        self.reactor.workers[1].ready.callback([])
        self.assertEqual(told[1:], ["STATUS=serving again"])

    def test_reload_to_another_state_folder_changes_nothing(self):
        self.supervisor._read = lambda: ServerConfig(state=self.folder(), https=HTTPS, http="off")
        self.supervisor.reload()
        self.assertEqual((self.supervisor._reloads, self.supervisor._failed_reloads), (0, 1))
        self.assertEqual(len(self.flushLoggedErrors()), 0)
        self.assertIs(self.supervisor._config, self.config)

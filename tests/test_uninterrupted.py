"""Tests for L{burrow.uninterrupted}."""

import contextlib
import os
import signal
import threading
from unittest import TestCase

from burrow.uninterrupted import uninterrupted


class Uninterrupted(TestCase):
    def setUp(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def test_signal_is_handled_behind_the_block(self):
        done = []
        with self.assertRaises(KeyboardInterrupt), uninterrupted():
            with contextlib.suppress(BaseException):  # as the code that this is for
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
                done.append("to its end")
            done.append("behind it")
        self.assertEqual(done, ["to its end", "behind it"])
        self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)

    def test_each_handler_is_called_though_one_raises(self):
        handled = []
        signal.signal(signal.SIGTERM, lambda number, frame: handled.append((number, frame is not None)))
        with self.assertRaises(KeyboardInterrupt), uninterrupted():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
                os.kill(os.getpid(), number)
        self.assertEqual(handled, [(signal.SIGTERM, True)])

    def test_error_of_the_block_is_raised_where_no_signal_came(self):
        with self.assertRaises(ValueError), uninterrupted():
            raise ValueError
        self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)

    def test_what_the_system_does_at_a_signal_is_left_alone(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with uninterrupted():
            self.assertIs(signal.getsignal(signal.SIGTERM), signal.SIG_IGN)
            self.assertNotEqual(signal.getsignal(signal.SIGINT), signal.default_int_handler)

    def test_other_threads_handle_no_signal(self):
        seen = []

        def run():
            with uninterrupted():
                seen.append(signal.getsignal(signal.SIGINT))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        self.assertEqual(seen, [signal.default_int_handler])

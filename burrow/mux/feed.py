"""The producer that feeds a stream: when it is paused, and when it is asked for more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from burrow.wire.stream import YamuxStream

HIGH_WATER = 64 * 1024
"""Bytes queued on one stream above which its push producer is paused."""


class Feed:
    """
    One producer, registered with one stream.

    @param streaming: whether it is a push producer, which is paused while too much waits in the stream's
        queue; a pull producer is asked for more whenever the queue is empty.
    @param state: the stream's queue, which reports that it ran low while the producer waits for that.
    @param failed: called with the name of a method of the producer that raised, and with the producer.
    """

    def __init__(
        self, producer: Any, streaming: bool, state: YamuxStream, failed: Callable[[str, Any], None]
    ) -> None:
        self._producer = producer
        self._streaming = streaming
        self._state = state
        self._failed = failed
        self._paused = False
        if not streaming:
            state.report_drained(True)

    def too_much(self) -> None:
        """More than L{HIGH_WATER} bytes wait."""
        if self._streaming and not self._paused:
            self._paused = True
            self._state.report_drained(True)
            self._call("pauseProducing")

    def drained(self) -> None:
        """The queue ran low or is empty."""
        if not self._streaming:
            if self._state.queued == 0:
                self._call("resumeProducing")
        elif self._paused:
            self._paused = False
            self._state.report_drained(False)
            self._call("resumeProducing")

    def unregister(self) -> None:
        """The producer is done."""
        self._state.report_drained(False)

    def stop(self) -> None:
        """The stream is closed."""
        self._call("stopProducing")

    def _call(self, method: str) -> None:
        try:
            getattr(self._producer, method)()
        except Exception:
            self._failed(method, self._producer)

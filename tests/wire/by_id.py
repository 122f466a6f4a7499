"""A session whose streams are named by their numbers, as frames and the model of the specification do."""

from burrow.wire import yamux
from burrow.wire.stream import CLOSED, YamuxStream


class Yamux(yamux.Yamux):
    """Every call finds its stream by number; on one that is gone nothing happens, and writing raises."""

    def __init__(self, **options):
        super().__init__(**options)
        self.opened = {}

    def _at(self, stream_id) -> YamuxStream:
        found = self.streams.get(stream_id) or self.opened.get(stream_id)
        if found is None:
            found = YamuxStream(self, stream_id, 0, self._budget)
            found.state = CLOSED
        self.opened[stream_id] = found
        return found

    def open_stream(self):
        stream = super().open_stream()
        self.opened[stream.stream_id] = stream
        return stream.stream_id

    def knows(self, stream_id):
        return stream_id in self.streams

    def send_data(self, stream_id, data):
        return self._at(stream_id).write(data)

    def end_stream(self, stream_id):
        self._at(stream_id).end()

    def break_stream(self, stream_id):
        self._at(stream_id).break_off()

    def reset_stream(self, stream_id):
        self._at(stream_id).reset()

    def consumed(self, stream_id, amount, now):
        self._at(stream_id).consumed(amount, now)

    def queued(self, stream_id):
        return self._at(stream_id).queued

    def granted(self, stream_id):
        return self._at(stream_id).granted

    def write_ended(self, stream_id):
        return self._at(stream_id).write_ended

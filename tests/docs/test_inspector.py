"""The example of docs/inspector.md runs as it stands there."""

import contextlib
import io
import re
import threading
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from burrow.client.inspect.api import Api
from burrow.client.inspect.replay import Replayer
from burrow.client.inspect.store import Store
from burrow.client.inspect.web import InspectorFactory
from burrow.protocols.upstream import Upstream
from burrow.traffic.hub import Traffic
from tests.client.inspect.parts import pass_through
from tests.e2e.harness import Upstream as Service
from tests.e2e.harness import reply

PAGE = Path(__file__).parents[2] / "docs" / "inspector.md"


class ExampleTests(TestCase):
    async def test_it_replays_what_failed(self):
        service = Service(lambda handler: reply(handler, b"well now"))
        self.addCleanup(service.close)
        traffic, store = Traffic(), Store()
        traffic.add(store)
        upstream = Upstream.parse(str(service.port), ("http",))
        replayer = Replayer(reactor, traffic, store, lambda tunnel: upstream)
        api = Api(reactor, store, replayer, dict, loopback=True)
        factory = InspectorFactory(reactor, api)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        pass_through(traffic, "POST", "/hook", status=500)
        pass_through(traffic, "POST", "/hook", status=200)
        (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
        example = example.replace("4040", str(port.getHost().port))
        said = io.StringIO()

        def run():
            assert threading.current_thread() is not threading.main_thread()
            with contextlib.redirect_stdout(said):
                exec(compile(example, str(PAGE), "exec"), {})

        await deferToThread(run)
        self.assertEqual(said.getvalue(), "POST /hook 500 -> 200\n")
        factory.close()
        await port.stopListening()
        turned = Deferred()
        reactor.callLater(0.1, turned.callback, None)
        await turned

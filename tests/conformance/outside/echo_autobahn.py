"""An echo server by Autobahn on Twisted: PORT. It takes permessage-deflate."""

import sys

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept
from twisted.internet import reactor


class Echo(WebSocketServerProtocol):
    def onMessage(self, payload, is_binary):
        self.sendMessage(payload, is_binary)


def accept(offers):
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer):
            return PerMessageDeflateOfferAccept(offer)
    return None


factory = WebSocketServerFactory()
factory.protocol = Echo
factory.setProtocolOptions(failByDrop=False, perMessageCompressionAccept=accept)
reactor.listenTCP(int(sys.argv[1]), factory, interface="127.0.0.1", backlog=200)
print("ready", flush=True)
reactor.run()

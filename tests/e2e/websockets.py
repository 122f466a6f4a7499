"""Both ends of a WebSocket's handshake: a service that says "hi", and a visitor who asks it."""

import hashlib
from base64 import b64encode

import websocket


def accept_websocket(handler):
    """Answer a WebSocket handshake (RFC 6455 section 4.2.2), send "hi" and close."""
    key = handler.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = b64encode(hashlib.sha1(key.encode()).digest()).decode()
    handler.send_response(101)
    handler.send_header("Upgrade", "websocket")
    handler.send_header("Connection", "Upgrade")
    handler.send_header("Sec-WebSocket-Accept", accept)
    handler.end_headers()
    handler.wfile.write(b"\x81\x02hi")
    handler.close_connection = True


def websocket_status(world, host, *fields, context=None):
    """
    The status of a WebSocket handshake by a real client, to which the service above says "hi".

    @param host: perhaps with its port. @param context: see L{World.connect<tests.e2e.harness.World.connect>}.
    """
    made = websocket.WebSocket()
    try:
        connected = world.connect(host.partition(":")[0], context=context)
        made.connect(f"wss://{host}/", header=list(fields), socket=connected)
        assert made.recv() == "hi"
        return 101
    except websocket.WebSocketBadStatusException as error:
        return error.status_code
    finally:
        made.close()

"""Servers whose certificates come from Pebble, for the tests of C{--tls acme} and of users' own domains."""

import contextlib
import socket
import ssl

from tests.e2e.harness import World, free_port
from tests.pebble import Pebble

DOMAIN = "burrow.localhost"


def acme_world(folder, pebble, https, **options):
    """A world whose server gets its certificates from Pebble; not started."""
    options = {"acme_directory": pebble.directory, "acme_ca_file": pebble.ca_file, **options}
    world = World(folder, ca_file=pebble.root, tls="acme", domain=DOMAIN, **options)
    world.https = https
    world.env["BURROW_SERVER"] = f"https://{DOMAIN}:{https}"
    return world


@contextlib.contextmanager
def acme_server(folder, prepare=lambda pebble: {}, pebble_options=None, **options):
    """
    A world, started and with a token, and its Pebble.

    @param prepare: called with the Pebble before the server starts; returns more options of the server.
    """
    https = free_port()
    with contextlib.ExitStack() as closing:
        pebble = Pebble(https, **(pebble_options or {}))
        closing.callback(pebble.close)
        world = acme_world(folder, pebble, https, **options, **prepare(pebble))
        closing.callback(world.close)
        world.start_server()
        world.env["BURROW_TOKEN"] = world.token()
        yield world, pebble


def shown(world, name):
    """The certificate that a handshake for a name shows, unverified; None if there is none."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((world.address, world.https), 20) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=name) as secure:
                return secure.getpeercert(True)
        except ssl.SSLError:
            return None

"""C{--proxy-protocol-from}: visitors behind a balancer of TCP, at every port and in every process."""

import socket
import ssl

from tests.e2e.harness import read_response, reply

BALANCER = "127.0.0.2"


def test_the_visitors_address_at_all_ports_and_workers(make_world, upstream, tcp_upstream):
    world = make_world(workers=2, proxy_protocol_from=BALANCER)
    web = world.agent("http", upstream(lambda h: reply(h, h.headers["X-Forwarded-For"].encode())).port)

    def first(connection):
        connection.sendall(connection.makefile("rb").readline())

    tcp = world.agent("tcp", tcp_upstream(first).port, "--proxy-protocol", "v1")
    port = int(tcp.url.rpartition(":")[2])

    def connect(to, header):
        plain = socket.socket()
        plain.settimeout(60)
        plain.bind((BALANCER, 0))
        plain.connect((world.address, to))
        plain.sendall(header)
        return plain

    context = ssl.create_default_context(cafile=str(world.ca_file))
    for number in range(4):  # some come to the process that has no agent, and are handed over
        header = f"PROXY TCP4 203.0.113.{number} 192.0.2.1 4711 443\r\n".encode()
        with connect(world.https, header) as plain:
            visitor = context.wrap_socket(plain, server_hostname=web.host)
            visitor.sendall(f"GET / HTTP/1.1\r\nHost: {web.host}\r\n\r\n".encode())
            assert read_response(visitor)[2] == f"203.0.113.{number}".encode()
        with connect(port, header) as visitor:
            assert visitor.recv(100).startswith(f"PROXY TCP4 203.0.113.{number} 0.0.0.0 4711".encode())
    with connect(world.https, b"GET / HTTP/1.1\r\n\r\n") as visitor:
        try:
            assert visitor.recv(100) == b""
        except ConnectionResetError:
            pass
    world.server.line("PROXY header is missing or wrong")
    assert world.get(web.host)[2] == b"127.0.0.1"  # who is no balancer needs no header

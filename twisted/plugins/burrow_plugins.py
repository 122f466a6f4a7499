"""What Burrow gives to Twisted's plugin system: two twistd commands, and its kinds of tunnels."""

from twisted.application.service import ServiceMaker

from burrow.protocols.files.kind import FilesProtocol
from burrow.protocols.http import HttpProtocol
from burrow.protocols.tcp import TcpProtocol
from burrow.protocols.tls import TlsProtocol
from burrow.protocols.udp.kind import UdpProtocol

burrow_server = ServiceMaker(
    "Burrow server",
    "burrow.server.tap",
    "A Burrow server: public URLs for its agents' services",
    "burrow-server",
)
burrow_client = ServiceMaker(
    "Burrow client",
    "burrow.client.tap",
    "A Burrow agent: keeps a configuration file's tunnels open",
    "burrow-client",
)
files_protocol = FilesProtocol()
http_protocol = HttpProtocol()
tcp_protocol = TcpProtocol()
tls_protocol = TlsProtocol()
udp_protocol = UdpProtocol()

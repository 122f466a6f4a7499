"""What twisted.plugin finds."""

from burrow_sampler import ByDatagram, ByHost, ByPort, BySni, Faulty

by_host = ByHost()
by_sni = BySni()
by_port = ByPort()
by_datagram = ByDatagram()
faulty = Faulty()

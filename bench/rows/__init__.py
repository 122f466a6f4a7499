"""Everything that is measured of each subject, a file a family of rows."""

from bench.rows.base import Goal, Metric, Row
from bench.rows.beside import Beside
from bench.rows.bulk import Bulk, TlsBulk
from bench.rows.connections import Connections, TlsConnections
from bench.rows.far import FarDownload, FarUpload
from bench.rows.idle import Back, Idle, TlsIdle, Tunnels
from bench.rows.looking import Looking
from bench.rows.requests import Http2, Https, One, Requests
from bench.rows.scale import Scale, TlsScale
from bench.rows.serving import Serving
from bench.rows.tcp import Connect, Iperf, Pgbench, Redis, RedisLarge
from bench.rows.uplink import ShortUplink, Uplink
from bench.rows.workers import Workers

ALL: tuple[type[Row], ...] = (
    *(Requests, Https, Http2, One, Serving),
    *(Connections, TlsConnections),
    *(Bulk, TlsBulk, Beside),
    *(Uplink, ShortUplink),
    *(FarDownload, FarUpload),
    *(Pgbench, Redis, RedisLarge, Iperf, Connect),
    *(Idle, TlsIdle, Tunnels, Back, Workers, Looking),
)
"""In the order of the table."""

SCALE: tuple[type[Row], ...] = (Scale, TlsScale)
"""Of C{python -m bench scale}."""

__all__ = ["ALL", "SCALE", "Goal", "Metric", "Row"]

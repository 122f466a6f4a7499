"""Everything that is measured of each subject, a file a family of rows."""

from bench.rows.base import Goal, Metric, Row
from bench.rows.bulk import Bulk, TlsBulk
from bench.rows.connections import Connections, TlsConnections
from bench.rows.requests import Https, One, Requests

ALL: tuple[type[Row], ...] = (Requests, Https, One, Connections, TlsConnections, Bulk, TlsBulk)
"""In the order of the table."""

__all__ = ["ALL", "Goal", "Metric", "Row"]

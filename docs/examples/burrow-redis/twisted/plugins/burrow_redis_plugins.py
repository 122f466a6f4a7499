"""What twisted.plugin finds: one object of each kind. This folder must not have an __init__.py."""

from burrow_redis.kind import Redis
from burrow_redis.lines import Lines

redis = Redis()
lines = Lines()

"""Lets C{twisted.internet.endpoints.serverFromString} read C{burrow:name=demo}: see L{burrow.endpoint}."""

from burrow.endpoint import BurrowParser

burrow_endpoint = BurrowParser()

"""Certificates from a CA by ACME (RFC 8555), with txacme. Only C{--tls acme} loads it."""

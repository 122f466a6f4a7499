"""C{burrow http --end-to-end}: TLS ends on the agent, which gets the certificate itself."""

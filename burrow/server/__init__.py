"""The server role: visitors and agents connect to it."""

"""Where the server's certificates come from."""

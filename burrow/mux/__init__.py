"""yamux streams as Twisted transports and endpoints: any Twisted protocol runs on one unchanged."""

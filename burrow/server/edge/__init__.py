"""
Where visitors arrive. The way of a request: tls (the handshake) -> http1 (the visitor's connection)
-> head, body (what was asked, written anew) -> a stream to the agent -> responses (what came back).
"""

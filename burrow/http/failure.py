"""How an agent tells the edge that there is no answer, on a stream that carries HTTP."""

FAILURE_HEADER = b"Burrow-Error"
"""
An agent that cannot connect to the upstream answers with this field: its value is the code of an
L{UpstreamFailed<burrow.protocols.upstream.UpstreamFailed>}, and the body is its public text. The edge
replaces the whole answer by a page.
"""

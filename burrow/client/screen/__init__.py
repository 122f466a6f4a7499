"""
What a person sees who runs an agent: the screen on a terminal, or a line a request.

Each module has one part: C{rows} what is known of the requests, C{status} what of the connection, C{controls}
what keys have asked for; C{scene} what one frame shows, C{view} how it looks, C{paint} which bytes make the
terminal show it; C{terminal} the terminal, C{keys} its keys; C{upstreams} whether something listens there;
C{live} what keeps it all going. C{lines} and C{output} are for where there is no terminal.
"""

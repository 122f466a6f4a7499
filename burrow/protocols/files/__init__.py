"""
The kind "files": a folder as a web site. The agent itself answers HTTP on its visitors' streams.

From below: C{tree} finds what a path means and never leaves the folder; C{ranges} has the rules of
conditional and partial requests (RFC 9110 sections 13 and 14), C{media} those of media types; C{listing}
writes the page of a folder; C{answer} decides on one request; C{serving} is the protocol of a stream; C{kind}
what Burrow is told.
"""

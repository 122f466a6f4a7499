"""C{burrow doctor}: what may be wrong between here and a URL that works, each with what to do about it."""

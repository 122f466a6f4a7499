"""
Burrow: a self-hosted tunnel, and a framework for Twisted protocols over WebSockets.

In a program: L{forward<burrow.program.api.forward>} and the others of C{__all__}. They are loaded when they
are first used: C{import burrow} alone loads nothing, and installs no reactor.
"""

__version__ = "0.1.0"

_WHERE = {
    "aforward": "burrow.program.api",
    "alisten": "burrow.program.listening",
    "aserve": "burrow.program.serving",
    "forward": "burrow.program.api",
    "listen": "burrow.program.listening",
    "BurrowError": "burrow.errors",
    "Request": "burrow.program.records",
    "Tunnel": "burrow.program.tunnel",
    "serve": "burrow.program.serving",
    "serving": "burrow.program.serving",
}

__all__ = [
    "BurrowError",
    "Request",
    "Tunnel",
    "__version__",
    "aforward",
    "alisten",
    "aserve",
    "forward",
    "listen",
    "serve",
    "serving",
]


def __getattr__(name: str) -> object:
    module = _WHERE.get(name)
    if module is None:
        raise AttributeError(f"module 'burrow' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(module), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})

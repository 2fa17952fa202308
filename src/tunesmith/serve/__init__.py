"""Inference behind the OpenAI API.

In: models (names, folders, runs) and, request by request, conversations, prompts and answers to judge.
Out: answers and log-probabilities over HTTP, and one row in the record for each request; the record is what
the monitor reads.

`backends/port.py` is what the server asks of an engine; `app.py` is the API itself.
"""

from typing import Any

__all__ = ["ChatConfig", "ChatResult", "ServeConfig", "ServeResult", "chat", "serve"]

_HOME = {
    "ChatConfig": "schema",
    "ChatResult": "schema",
    "ServeConfig": "schema",
    "ServeResult": "schema",
    "chat": "terminal",
    "serve": "server",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, so that importing the room costs nothing."""
    if name not in _HOME:
        raise AttributeError(name)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)

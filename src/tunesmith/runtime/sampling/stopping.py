"""Text as it leaves a model: tokens → whole characters → nothing beyond a stop string.

Importable without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

REPLACEMENT = "\ufffd"
"""What a tokenizer decodes half of a UTF-8 character to."""


class TokenText:
    """Turns tokens into text one at a time and never gives out half of a character.

    The text of a token depends on the tokens before it (spaces, merges of bytes), so a window that starts a
    few tokens earlier is decoded again and the part already given out is cut off.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._token_ids: list[int] = []
        self._window = 0
        self._read = 0

    def push(self, token_id: int) -> str:
        """The characters that this token completes; empty while one is still half there."""
        self._token_ids.append(token_id)
        text = self._rest()
        if not text or text.endswith(REPLACEMENT):
            return ""
        self._window, self._read = self._read, len(self._token_ids)
        return text

    def finish(self) -> str:
        """What was held back: a character that never became whole."""
        text = self._rest()
        self._window = self._read = len(self._token_ids)
        return text

    def _rest(self) -> str:
        known = self._decode(self._token_ids[self._window : self._read])
        return self._decode(self._token_ids[self._window :])[len(known) :]


class Stop(NamedTuple):
    """Where a text ends: characters that stay, and where the stop string began and ended."""

    start: int
    end: int


class StopFilter:
    """Lets text through up to the first stop string, and never gives out the beginning of one.

    The stop string that is complete first wins, so the result does not depend on how the text was cut.
    """

    def __init__(self, stop: Sequence[str], *, include_stop: bool = False) -> None:
        self._stop = tuple(stop)
        self._include_stop = include_stop
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """The part of all text so far that can be given out now and was not before."""
        if self.stopped:
            return ""
        self._held += text
        found = self._first()
        if found is not None:
            self.stopped = True
            out, self._held = self._held[: found.end if self._include_stop else found.start], ""
            return out
        keep = self._beginning()
        cut = len(self._held) - keep
        out, self._held = self._held[:cut], self._held[cut:]
        return out

    def finish(self) -> str:
        """What was held back because a stop string might have begun there."""
        out, self._held = self._held, ""
        return out

    def _first(self) -> Stop | None:
        found = [Stop(at, at + len(stop)) for stop in self._stop if (at := self._held.find(stop)) >= 0]
        return min(found, key=lambda stop: (stop.end, stop.start), default=None)

    def _beginning(self) -> int:
        """Length of the longest end of the held text with which some stop string begins."""
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stop):
                return length
        return 0

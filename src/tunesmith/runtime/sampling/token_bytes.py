"""The bytes that a token stands for.  Importable without torch.

Tokenizers keep bytes in three ways: byte-level vocabularies write each byte as a printable letter (GPT-2),
byte fallback writes `<0x0A>` beside pieces with `▁` for a space (SentencePiece), and added tokens are text.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

SPACE = "▁"
BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class TokenBytes:
    """Bytes of the tokens of one transformers tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._added = {number: str(token) for number, token in tokenizer.added_tokens_decoder.items()}
        self._byte_level = "ByteLevel" in json.dumps(
            json.loads(tokenizer.backend_tokenizer.to_str())["decoder"]
        )

    def of(self, token_id: int) -> bytes:
        """What the token adds to a text; empty for a number that only pads the vocabulary."""
        if token_id in self._added:
            return self._added[token_id].encode()
        piece = self._tokenizer.convert_ids_to_tokens(token_id)
        if piece is None:
            return b""
        if self._byte_level:
            return b"".join(bytes_of_letters().get(letter, letter.encode()) for letter in piece)
        if found := BYTE.fullmatch(piece):
            return bytes.fromhex(found[1])
        return str(piece).replace(SPACE, " ").encode()


@cache
def bytes_of_letters() -> dict[str, bytes]:
    """Letter → byte in byte-level vocabularies: printable ones are themselves, the rest follow from 256 on.

    The table of GPT-2's tokenizer (Radford et al. 2019).
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [*map(chr, printable), *(chr(256 + place) for place in range(len(others)))]
    return {letter: bytes([byte]) for letter, byte in zip(letters, [*printable, *others], strict=True)}


def readable(raw: bytes) -> str:
    """A token's bytes as OpenAI shows them: text, or `bytes:` and escapes for parts of characters."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)

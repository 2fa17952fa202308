"""Names of things, as OpenAI forms them."""

import secrets
import string

BASE62 = string.digits + string.ascii_letters
LENGTH = 24


def new_id(prefix: str, length: int = LENGTH) -> str:
    """'file-4bQz…': a prefix with its separator, and random letters that no URL has to escape."""
    return prefix + "".join(secrets.choice(BASE62) for _ in range(length))

"""The Hugging Face hub: one function fetches models and data sets alike, into its own cache.

Nothing else of the project speaks to the hub.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tunesmith.core.errors import MissingPackage, UserError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
"""`owner/name`."""


def fetch_snapshot(ref: str, kind: Literal["model", "dataset"], patterns: Sequence[str]) -> Path:
    """The folder of a repository, of which only files that match a pattern are fetched.

    Raises UserError when it can be had neither from the hub nor from the hub's cache.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        step = "pip install 'tunesmith[train]'"
        raise MissingPackage("huggingface_hub is not installed", value=ref, next_step=step) from None
    try:
        return Path(snapshot_download(ref, repo_type=kind, allow_patterns=list(patterns)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        what = f"this {kind} could not be fetched from the hub ({first_line})"
        raise UserError(what, value=ref, next_step="go online, or give a file or folder") from error

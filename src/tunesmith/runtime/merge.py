"""Merging an adapter into the weights of its base: `python -m tunesmith.runtime.merge BASE ADAPTER FOLDER`.

The command is for whoever must not keep the memory that it takes: it ends with the process.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tunesmith.core.errors import EXIT_USER_ERROR, UserError


def merge(base: Path, adapter: Path, folder: Path) -> dict[str, float]:
    """Write a model folder with the adapter in its weights; what rounding them cost.

    The numbers are those of `lora.Rounding`.  Raises ModelError for an adapter that is not LoRA, or of
    another base.
    """
    from tunesmith.runtime.adapter_facts import check_base
    from tunesmith.runtime.init_from import check_tokens
    from tunesmith.runtime.lora import merge_adapter
    from tunesmith.runtime.methods.whole import publish_whole
    from tunesmith.runtime.models import load_model
    from tunesmith.runtime.vocabulary import tokenizer_folder

    loaded = load_model(base, tokenizer=tokenizer_folder(base, adapter))
    check_base(adapter, loaded.info)
    check_tokens(loaded, adapter)
    rounding = merge_adapter(loaded.model, adapter)
    publish_whole(loaded, folder)
    return rounding._asdict()


def main(arguments: Sequence[str]) -> int:
    """Merge, and print what it cost as JSON; or say what is wrong."""
    base, adapter, folder = map(Path, arguments)
    try:
        print(json.dumps(merge(base, adapter, folder)))  # noqa: T201  what the command is for
    except UserError as error:
        print(error.what, file=sys.stderr)  # noqa: T201  the same: places are not for everybody
        return EXIT_USER_ERROR
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""Beginning from an earlier adapter: it learns on, is merged into the base, or lies frozen underneath.

`begin_from` does what has to happen to the base before a method is attached, refuses what cannot be, and
gives back what the method has to take up and to publish.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tunesmith.core.errors import ModelError
from tunesmith.core.files import explain_disk_errors, read_json, write_json
from tunesmith.runtime.adapter_facts import FACTS_NAME, base_facts, check_base
from tunesmith.runtime.lora import (
    CONFIG_NAME,
    MERGED_FIRST,
    WEIGHTS_NAME,
    LoraShape,
    Rounding,
    Stored,
    merge_adapter,
    merge_first,
)
from tunesmith.runtime.methods.port import Begin
from tunesmith.runtime.models import Loaded, read_tokenizer
from tunesmith.runtime.quantise import Quantisation
from tunesmith.runtime.vocabulary import has_tokenizer

LORA: Final = "LORA"


@dataclass(frozen=True)
class Start:
    """Where a method starts: what was done to the base, and what is left to the method."""

    mode: str = "new"
    """`new`, `continue` (take up `folder`), `stack` (lay `folder` under) or `merged` (it is in the base)."""
    folder: Path | None = None
    merged: Path | None = None
    """Folder of the adapter that the base was merged with; published with the new one."""
    rounding: Rounding | None = None

    def publish(self, loaded: Loaded, folder: Path, *, base_name: str, **facts: Any) -> None:
        """Write beside a new adapter what its configuration has no word for: its base, and other `facts`."""
        if self.rounding is not None:
            facts["merge_rounding"] = self.rounding._asdict()
        write_json(folder / FACTS_NAME, base_facts(base_name, loaded.info) | facts)
        self._keep_merged(folder)

    def _keep_merged(self, folder: Path) -> None:
        """Keep the adapter that was merged first beside the new one, so that a server can merge it again."""
        if self.merged is None:
            return
        kept = folder / MERGED_FIRST
        if kept.resolve() == self.merged.resolve():
            return
        with explain_disk_errors(folder):
            copy_adapter(self.merged, kept)

    @property
    def has_tokenizer(self) -> bool:
        """Whether the earlier adapter brought a tokenizer."""
        return any(has_tokenizer(folder) for folder in (self.folder, self.merged) if folder is not None)


def copy_adapter(source: Path, target: Path) -> None:
    """Copy what merging reads of an adapter folder, and of what it was itself merged on."""
    target.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS_NAME, CONFIG_NAME, FACTS_NAME):
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)
    if (source / MERGED_FIRST).exists():
        copy_adapter(source / MERGED_FIRST, target / MERGED_FIRST)


def kind_of(folder: Path) -> str:
    """The `peft_type` of an adapter folder; raises ModelError when it is none."""
    path = folder / CONFIG_NAME
    if not path.exists():
        raise ModelError(
            "this is not an adapter folder",
            where=folder,
            next_step=f"give a run, or a folder with {CONFIG_NAME}",
        )
    return str(read_json(path).get("peft_type", "without peft_type"))


def begin_from(loaded: Loaded, begin: Begin, *, kind: str) -> Start:
    """Prepare the base for `begin`, whose method writes adapters of `kind` (a `peft_type`; empty: weights).

    `merge_then_new` merges here.  `continue` and `stack` are left to the method; where its kind cannot do it,
    a ModelError says which kinds differ.  What the earlier adapter's own base was merged with comes first.
    """
    folder = begin.adapter
    if folder is None:
        return Start()
    earlier = kind_of(folder)
    check_base(folder, loaded.info)
    check_tokens(loaded, folder)
    if begin.mode == "merge_then_new":
        return Start("merged", folder, merged=folder, rounding=merge_adapter(loaded.model, folder))
    refuse_kinds(begin.mode, earlier, kind, folder)
    rounding = merge_first(loaded.model, folder)
    return Start(begin.mode, folder, None if rounding is None else folder / MERGED_FIRST, rounding)


def refuse_kinds(mode: str, earlier: str, kind: str, folder: Path) -> None:
    """Raise ModelError where one kind of adapter cannot learn on as, or lie under, another."""
    new = kind or "whole weights"
    if mode == "continue" and earlier != kind:
        raise ModelError(
            f"an adapter of kind {earlier} cannot go on learning as {new}",
            where=folder,
            next_step="give the method that made it, or init_from mode: merge_then_new",
        )
    if mode == "stack" and (earlier, kind) != (LORA, LORA):
        raise ModelError(
            f"only LoRA can be stacked on LoRA; here {new} would lie on {earlier}",
            where=folder,
            next_step="use init_from mode: merge_then_new",
        )


def check_tokens(loaded: Loaded, folder: Path) -> None:
    """Raise ModelError when an earlier adapter has rows of tokens that the tokenizer has not at their ids."""
    if not has_tokenizer(folder):
        return
    theirs = read_tokenizer(folder).get_added_vocab()
    ours = loaded.tokenizer.get_vocab()
    for token, token_id in theirs.items():
        if ours.get(token) != token_id:
            raise ModelError(
                f"the earlier adapter knows the token {token!r} as {token_id},"
                f" this tokenizer as {ours.get(token)}",
                where=folder,
                next_step="take the tokenizer from the earlier adapter's folder",
            )


@dataclass(frozen=True)
class LoraFacts:
    """What has to be equal for a LoRA adapter to go on learning."""

    shapes: Mapping[str, LoraShape]
    whole: frozenset[str]
    """Parameters that learn whole."""
    rows: tuple[int, ...]
    quantisation: Quantisation | None

    @classmethod
    def of(cls, stored: Stored) -> LoraFacts:
        """The facts of a stored adapter."""
        rows = () if stored.rows is None else stored.rows.token_ids
        return cls(stored.shapes, frozenset(stored.whole), rows, stored.quantisation)


def differences(earlier: LoraFacts, new: LoraFacts) -> list[str]:
    """What keeps an earlier LoRA adapter from going on as a recipe asks, in words."""
    found = [
        f"{name} carries LoRA only {'before' if name in earlier.shapes else 'in the recipe'}"
        for name in sorted(earlier.shapes.keys() ^ new.shapes.keys())
    ]
    for name in sorted(earlier.shapes.keys() & new.shapes.keys()):
        if earlier.shapes[name] != new.shapes[name]:
            then, now = worded(earlier.shapes[name]), worded(new.shapes[name])
            found.append(f"{name}: {then} before, {now} in the recipe")
    if earlier.whole != new.whole:
        names = ", ".join(sorted(earlier.whole ^ new.whole))
        found.append(f"modules that learn whole differ: {names}")
    if earlier.rows != new.rows:
        found.append(f"token rows {list(earlier.rows)} before, {list(new.rows)} in the recipe")
    if earlier.quantisation != new.quantisation:
        before, now = held(earlier.quantisation), held(new.quantisation)
        found.append(f"base held as {before} before, {now} in the recipe")
    return found


def worded(shape: LoraShape) -> str:
    """A shape for a message."""
    return ", ".join(f"{name} {value}" for name, value in asdict(shape).items())


def held(quantisation: Quantisation | None) -> str:
    """A base's number format for a message."""
    return "it is" if quantisation is None else quantisation.describe()


def check_same(earlier: LoraFacts, new: LoraFacts, folder: Path) -> None:
    """Raise ModelError unless an adapter can go on learning as the recipe describes one."""
    found = differences(earlier, new)
    if found:
        more = f" (and {len(found) - 1} more differences)" if len(found) > 1 else ""
        raise ModelError(
            f"the earlier adapter is of another shape than the recipe's method: {found[0]}{more}",
            where=folder,
            next_step="give the same method settings, or init_from mode: merge_then_new or stack",
        )

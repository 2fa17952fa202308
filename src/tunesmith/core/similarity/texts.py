"""The normal form of a text, its hash, and the set of its character runs (shingles)."""

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

SHINGLE_CHARACTERS = 4
"""Length of the character runs compared.  Characters, not words: a short text has too few words for
a share of common words to mean anything, and scripts without spaces have none."""

MAX_SHINGLES = 2048
"""A text is remembered by at most so many hashes (8 KiB)."""

PIECE_CHARACTERS = 1 << 19
"""So many characters are hashed at a time: memory stays bounded whatever the length of a text."""

NO_WORD = re.compile(r"\W+")
ASCII_WORDS = {code: chr(code) if NO_WORD.sub("", chr(code)) else " " for code in range(128)}
FIRST_FACTOR, SECOND_FACTOR = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
"""Golden ratio, and a factor of SplitMix64 (Steele et al. 2014): they spread code points over 64 bits."""


def normalise(text: str) -> str:
    """The normal form for 'the same text': Unicode NFKC, case folded, single spaces."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def hash_normal(normal: str) -> bytes:
    """128-bit hash of a text that is in its normal form."""
    return hashlib.blake2b(normal.encode("utf-8", errors="surrogatepass"), digest_size=16).digest()


def text_hash(text: str) -> str:
    """128-bit hexadecimal hash of the normal form: equal for texts that differ in case and spaces only."""
    return hash_normal(normalise(text)).hex()


def words_only(normal: str) -> str:
    """The words of a normal form between single spaces, without punctuation unless there is nothing else."""
    if normal.isascii():
        words = " ".join(normal.translate(ASCII_WORDS).split())
    else:
        words = NO_WORD.sub(" ", normal).strip()
    return f" {words or normal} ".ljust(SHINGLE_CHARACTERS)


def shingles(text: str) -> NDArray[np.uint32]:
    """Sorted distinct 32-bit hashes of the runs of four characters in the words of a text.

    Punctuation is left out, unless the text has nothing else.  Of a long text the `MAX_SHINGLES`
    smallest hashes are kept: a uniform sample (bottom-k sketch, Broder 1997).
    """
    return shingle_sets([normalise(text)])[0]


def shingle_sets(normal: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """`shingles` of texts that are in their normal form, end to end, and how many each has."""
    values, counts = [], []
    for batch in batches([words_only(text) for text in normal]):
        found = hash_batch(batch) if len(batch) > 1 else hash_long(batch[0])
        values.append(found[0])
        counts.append(found[1])
    if not values:
        return np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.int64)
    return np.concatenate(values), np.concatenate(counts)


def batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Neighbouring texts of at most `PIECE_CHARACTERS` together; a longer one is alone."""
    start, size = 0, 0
    for number, text in enumerate(texts):
        if size + len(text) > PIECE_CHARACTERS and number > start:
            yield texts[start:number]
            start, size = number, 0
        size += len(text)
    if start < len(texts):
        yield texts[start:]


def hash_runs(text: str) -> NDArray[np.uint32]:
    """The hash of each run of four characters, in the text's order."""
    codes = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32).astype(np.uint64)
    num_runs = len(codes) - SHINGLE_CHARACTERS + 1
    mixed = codes[:num_runs].copy()
    for shift in range(1, SHINGLE_CHARACTERS):
        mixed *= FIRST_FACTOR
        mixed += codes[shift : shift + num_runs]
    mixed *= FIRST_FACTOR
    mixed ^= mixed >> np.uint64(29)
    mixed *= SECOND_FACTOR
    return (mixed >> np.uint64(32)).astype(np.uint32)


def hash_batch(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Sorted distinct hashes of each text's runs: all texts in one pass, runs over their borders left out."""
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    found = hash_runs("".join(texts))
    inside = np.ones(len(found), dtype=bool)
    borders = np.cumsum(lengths)[:-1]
    for back in range(1, SHINGLE_CHARACTERS):
        inside[borders - back] = False
    owners = np.repeat(np.arange(len(texts), dtype=np.uint64), lengths - SHINGLE_CHARACTERS + 1)
    keys = (owners << np.uint64(32)) | found[inside]
    keys.sort()
    keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
    owners = (keys >> np.uint64(32)).astype(np.int64)
    counts = np.bincount(owners, minlength=len(texts))
    if counts.max() > MAX_SHINGLES:
        first = np.cumsum(counts) - counts
        keys = keys[np.arange(len(keys)) - first[owners] < MAX_SHINGLES]
        counts = np.minimum(counts, MAX_SHINGLES)
    return keys.astype(np.uint32), counts


def hash_long(text: str) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The same of one text of any length, piece by piece."""
    smallest = np.zeros(0, dtype=np.uint32)
    for start in range(0, max(1, len(text) - SHINGLE_CHARACTERS + 1), PIECE_CHARACTERS):
        piece = hash_runs(text[start : start + PIECE_CHARACTERS + SHINGLE_CHARACTERS - 1])
        smallest = np.unique(np.concatenate([smallest, piece]))[:MAX_SHINGLES]
    return smallest, np.array([len(smallest)], dtype=np.int64)


def jaccard(left: NDArray[np.uint32], right: NDArray[np.uint32]) -> float:
    """Size of the intersection over size of the union of two sets from `shingles`.

    Exact for texts of fewer than `MAX_SHINGLES` shingles; for longer ones estimated on the smallest
    hashes of the union (standard error below .011).
    """
    union = np.union1d(left, right)
    if max(len(left), len(right)) == MAX_SHINGLES:
        union = union[:MAX_SHINGLES]
    common = np.intersect1d(left, right, assume_unique=True)
    return float(np.count_nonzero(common <= union[-1]) / len(union))

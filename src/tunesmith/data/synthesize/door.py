"""`tunesmith data synthesize`: ask, sieve, mark, and add to the training split."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, NamedTuple

from tunesmith.core.conversation import Example
from tunesmith.core.dataset import DataSet
from tunesmith.core.endpoint import Endpoint, key_in
from tunesmith.core.errors import DataError, ModelError, nearest
from tunesmith.core.files import append_jsonl, read_jsonl, write_jsonl
from tunesmith.core.job import Job
from tunesmith.core.similarity import text_hash
from tunesmith.core.workspace import WorkFolder
from tunesmith.data.corpus import CorpusRow
from tunesmith.data.intake import prompt_text
from tunesmith.data.steps import derived, summary_of, write_rows
from tunesmith.data.synthesize.asking import Unusable, draw, is_usable_seed, prompt_hash, read_reply, request
from tunesmith.data.synthesize.schema import SynthesizeConfig, SynthesizeResult
from tunesmith.data.synthesize.sieve import Sieve, sieve_for

REPLIES, SYNTHETIC, DISCARDED = "replies.jsonl", "synthetic.jsonl", "discarded.jsonl"
MAX_SEEDS = 20_000
"""So many seeds of each slice are held in memory, the first ones."""
ALL = "(all)"


class Ask(NamedTuple):
    """What the request with a number shows."""

    slice_of: str
    shown: list[Example]


@dataclass
class Synthesis:
    """What is under way."""

    config: SynthesizeConfig
    seeds: dict[str, list[Example]]
    sieve: Sieve
    added: list[Example] = field(default_factory=list)
    discarded: list[dict[str, Any]] = field(default_factory=list)
    slices: Counter[str] = field(default_factory=Counter)

    def ask(self, position: int) -> Ask:
        """Slices take turns; rows of a slice are drawn."""
        names = list(self.seeds)
        name = names[position % len(names)]
        places = draw(len(self.seeds[name]), self.config.shots, seed=self.config.seed, position=position)
        return Ask(name, [self.seeds[name][place] for place in places])

    def request(self, position: int) -> Any:
        """The request with this number."""
        ask = self.ask(position)
        return request(
            ask.shown,
            None if ask.slice_of == ALL else f"{self.config.by} = {ask.slice_of}",
            max_tokens=self.config.max_tokens,
            temperature=self.config.temperature,
            seed=self.config.seed + position,
        )

    def take(self, position: int, reply: dict[str, Any]) -> None:
        """Use a reply, or discard it with the reason."""
        ask = self.ask(position)
        metadata = {
            "synthetic": True,
            "teacher": self.config.model,
            "prompt_hash": prompt_hash(self.request(position)),
            "seed_rows": [example.row_hash for example in ask.shown],
        }
        if self.config.by is not None:
            metadata[self.config.by] = ask.slice_of
        reason = reply["error"]
        if reason is None and reply["finish_reason"] == "length":
            reason = "the reply was cut at --max-tokens"
        if reason is None:
            try:
                example = read_reply(reply["text"], ask.shown[0], metadata)
                reason = self.sieve.reason_against(example)
            except Unusable as unusable:
                reason = str(unusable)
        if reason is None:
            self.added.append(example)
            self.slices[ask.slice_of] += 1
        else:
            self.discarded.append({"position": position, "reason": reason, "reply": reply["text"]})


def synthesize(config: SynthesizeConfig, job: Job) -> SynthesizeResult:
    """Ask for as many new rows as wanted, and add those that can be used to the training split; resumable.

    Raises DataError when no training row can be shown, ServerError and ModelError when the teacher is not
    there, DataError when nothing it wrote can be used.
    """
    data = DataSet.find(config.seeds, job.workspace)
    seeds = seeds_of(data, config)
    settings = {key: value for key, value in config.to_json().items() if key not in UNTOLD}
    with derived(job, data, verb="data synthesize", config=settings, seed=config.seed, resume=True) as folder:
        shown = [example for rows in seeds.values() for example in rows]
        state = Synthesis(config, seeds, sieve_for(data, shown, config.similar))
        replies = ask_all(state, folder, job)
        if not state.added:
            reasons = Counter(row["reason"] for row in state.discarded).most_common(3)
            step = "look at replies.jsonl; try another teacher, or more --tries"
            why = "; ".join(f"{count} × {reason}" for reason, count in reasons)
            raise DataError("no reply of the teacher can be used", value=why, next_step=step)
        write_jsonl(folder / SYNTHETIC, [example.to_json() for example in state.added])
        write_jsonl(folder / DISCARDED, state.discarded)
        written = write_rows(folder, data.split_names(), with_new(data, state.added))
        folder.summary = summary_of(
            data, written, rows=sum(data.num_rows(name) for name in data.split_names()) + len(state.added),
            changed=0, dropped=0, notes=notes_on(state),
        )  # fmt: skip
        folder.summary |= {
            "added": len(state.added),
            "wanted": config.rows,
            "requests": len(replies),
            "discarded": dict(Counter(row["reason"] for row in state.discarded).most_common()),
            "slices": dict(state.slices),
            "prompt_tokens": sum(reply["prompt_tokens"] for reply in replies),
            "completion_tokens": sum(reply["completion_tokens"] for reply in replies),
            "seconds": round(sum(reply["seconds"] for reply in replies), 3),
        }
    return SynthesizeResult(**SynthesizeResult.fields_from(folder.summary, folder.path))


UNTOLD = frozenset({"seeds", "api_key_variable", "concurrency"})
"""Settings that change nothing in the rows."""


def seeds_of(data: DataSet, config: SynthesizeConfig) -> dict[str, list[Example]]:
    """Training rows that can be shown, by slice.  Synthetic ones are not shown again."""
    found: defaultdict[str, list[Example]] = defaultdict(list)
    keys: set[str] = set()
    for row in data.rows("train"):
        keys |= set(row.example.metadata)
        if not is_usable_seed(row.example) or row.example.metadata.get("synthetic"):
            continue
        value = ALL if config.by is None else row.example.metadata.get(config.by)
        if value is not None and len(found[str(value)]) < MAX_SEEDS:
            found[str(value)].append(row.example)
    if config.by is not None and config.by not in keys:
        step = nearest(config.by, keys)
        raise DataError("no training row has this key", value=config.by, where="--by", next_step=step)
    if not found:
        what = "no training row is one question with one text answer"
        step = "give rows of that form: the teacher writes such"
        raise DataError(what, where=data.folder, next_step=step)
    return dict(found)


def ask_all(state: Synthesis, folder: WorkFolder, job: Job) -> list[dict[str, Any]]:
    """Ask in rounds until there are enough rows or no tries left; every reply, in the order asked for."""
    config, path = state.config, folder / REPLIES
    known = {line.value["position"]: line.value for line in read_jsonl(path)} if path.exists() else {}
    known = {position: reply for position, reply in known.items() if reply["error"] is None}
    write_jsonl(path, known.values())  # without the torn line that the next one would join
    most, used = config.rows * config.tries, 0
    with (
        Endpoint(config.teacher, config.model, key_in(config.api_key_variable)) as endpoint,
        job.progress.task("asking the teacher", total=config.rows, unit="rows") as task,
    ):
        check_teacher(endpoint)
        while len(state.added) < config.rows and used < most:
            wanted = config.rows - len(state.added)
            stop = min(most, used + max(config.concurrency, ceil(1.25 * wanted)))
            ask_missing(state, range(used, stop), known, endpoint, folder)
            before = len(state.added)
            for position in range(used, stop):
                used = position + 1
                state.take(position, known[position])
                if len(state.added) == config.rows:
                    break
            task.advance(len(state.added) - before)
            folder.write_state(status="running", done=len(state.added), total=config.rows)
            if all(known[position]["error"] for position in range(used)):
                endpoint.models()  # raises when the server is gone
                break
    for position in sorted(set(known) - set(range(used))):
        reason = "there were enough rows already"
        state.discarded.append({"position": position, "reason": reason, "reply": known[position]["text"]})
    return [known[position] for position in sorted(known)]


def ask_missing(
    state: Synthesis, positions: Sequence[int], known: dict[int, dict[str, Any]], endpoint: Endpoint,
    folder: WorkFolder,
) -> None:  # fmt: skip
    """Ask what has no reply yet; each is written when it comes."""
    missing = [position for position in positions if position not in known]
    requests = [state.request(position) for position in missing]
    for place, answer in endpoint.chat_many(requests, concurrency=state.config.concurrency):
        reply = {
            "position": missing[place],
            "text": answer.text,
            "error": answer.error,
            "finish_reason": answer.finish_reason,
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "seconds": round(answer.latency_seconds, 4),
        }
        append_jsonl(folder / REPLIES, reply)
        known[missing[place]] = reply


def check_teacher(endpoint: Endpoint) -> None:
    """Refuse a model that the server does not list."""
    listed = {model.id for model in endpoint.models()}
    if endpoint.model not in listed:
        step = nearest(endpoint.model, listed)
        raise ModelError(
            "the server has no model of this name", value=endpoint.model, where=endpoint.url, next_step=step
        )


def with_new(data: DataSet, added: Sequence[Example]) -> Iterator[CorpusRow]:
    """Every row there is, and the new ones behind the training rows, each a group of its own."""
    for name in data.split_names():
        last = number = 0
        for number, row in enumerate(data.rows(name), start=1):
            last = max(last, row.line)
            yield CorpusRow(number, name, row.line, row.row_hash, row.group_id, row.example)
        if name == "train":
            for place, example in enumerate(added, start=1):
                group = text_hash(f"synthetic {prompt_text(example)}")[:16]
                yield CorpusRow(number + place, name, last + place, example.row_hash, group, example)


def notes_on(state: Synthesis) -> list[str]:
    """What a reader should know."""
    notes = [
        f"{len(state.added):,} training rows are synthetic (metadata.synthetic), by {state.config.model}"
    ]
    if (short := state.config.rows - len(state.added)) > 0:
        tries = state.config.rows * state.config.tries
        notes.append(f"{short:,} rows fewer than asked: {tries:,} requests were allowed (--tries)")
    notes.append("review some of them before training: a teacher is wrong with confidence")
    return notes

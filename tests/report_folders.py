"""Finished folders of every room, small and realistic, for tests of the report.

Summaries are made by the rooms' own result schemas, so that a report of these folders breaks when a
room changes what it writes.
"""

import json
import random
from contextlib import contextmanager
from pathlib import Path

from tunesmith.core.conversation import Example, chat
from tunesmith.core.dataset import DataSet, Writer
from tunesmith.core.files import write_json, write_jsonl, write_text
from tunesmith.core.job import Job
from tunesmith.core.reviews.acts import Item, Verdict
from tunesmith.core.reviews.store import reviews_of
from tunesmith.core.scorers import Case, Reply, choose_all, score_case
from tunesmith.core.stats import bootstrap_mean, share_interval
from tunesmith.core.workspace import Input
from tunesmith.data.schema import PrepareResult
from tunesmith.decide.schema import DecideResult, Measurement
from tunesmith.evaluate.comparison.door import compare
from tunesmith.evaluate.comparison.schema import CompareConfig
from tunesmith.evaluate.schema import EvaluateResult, Score
from tunesmith.evaluate.validate.door import answers as draw_answers
from tunesmith.evaluate.validate.door import validate
from tunesmith.evaluate.validate.schema import AnswersConfig, ValidateConfig
from tunesmith.train.schema import TrainResult

SCORERS = ("exact_json", "field_f1", "json_valid")
SYSTEM = "Split the US address into its parts. Answer with one JSON object."
STREETS = ("Gordon", "San Juan", "Martin Luther King Jr", "Old Mill", "Lake Shore", "Sheridan", "Pine Ridge")
KINDS = ("Hwy", "Ave", "St.", "Drive", "Blvd", "Rd")
PLACES = (
    ("Newton", "IL", "62448"),
    ("Chicago", "IL", "60614"),
    ("Santa Fe", "NM", "87505"),
    ("Adak", "AK", "99546"),
)
BASE_MODEL = Input("model", "model", "b" * 64, "smollm2-135m-instruct")


def address(number: int) -> tuple[str, dict[str, str]]:
    """A made-up address and its fields."""
    draw = random.Random(number)
    place, state, code = draw.choice(PLACES)
    fields = {"AddressNumber": str(100 + number), "StreetName": draw.choice(STREETS)}
    fields["StreetNamePostType"] = draw.choice(KINDS)
    if number % 3 == 0:
        fields |= {"OccupancyType": "Suite", "OccupancyIdentifier": f"#{number}"}
    fields |= {"PlaceName": place, "StateName": state, "ZipCode": code}
    street = " ".join(list(fields.values())[: len(fields) - 3])
    return f"{street}, {place}, {state} {code}", fields


def example(number: int) -> Example:
    text, fields = address(number)
    return chat([("system", SYSTEM), ("user", text), ("assistant", json.dumps(fields))])


@contextmanager
def sealed(
    job: Job,
    verb: str,
    kind: str,
    name: str,
    inputs: dict,
    config: dict | None = None,
    seed: int | None = None,
):
    with job.workspace.open(
        verb=verb, kind=kind, name=name, config=config or {}, inputs=inputs, seed=seed
    ) as folder:
        yield folder


def keep(folder, result) -> Path:
    """Set the summary as a door does."""
    folder.summary = {key: value for key, value in result.to_json().items() if key != "folder"}
    return folder.path


def data_set(
    job: Job, *, train=60, validation=10, test=20, rejects=(), examples=None, name="addresses"
) -> Path:
    rows = examples or [example(number) for number in range(train + validation + test)]
    sizes = {"train": len(rows) - validation - test, "validation": validation, "test": test}
    source = {"source": Input("source", "file", "a" * 64, "/home/somebody/secret/addresses.jsonl")}
    with sealed(job, "data prepare", "data-set", name, source) as folder:
        waiting = iter(rows)
        with Writer(folder.path, sizes) as writer:
            for split, size in sizes.items():
                for line in range(size):
                    one = next(waiting)
                    text = json.dumps(one.to_json())
                    writer.add(
                        split,
                        example_json=text,
                        row_hash=one.row_hash,
                        group_id=one.row_hash[:16],
                        line=line + 1,
                    )
        write_jsonl(folder / "rejects.jsonl", rejects)
        result = PrepareResult(
            folder=folder.path,
            rows=len(rows) + len(rejects) + 6,
            kept=len(rows) - 3,
            changed=3,
            refused=len(rejects),
            duplicates=5,
            withheld=1,
            splits=sizes,
            groups=len(rows),
            near_duplicates=4,
            contradictions=0,
            fingerprint=writer.proof["fingerprint"],
            findings=["4 rows share a group with a row whose prompt is worded differently"],
        )
        return keep(folder, result)


def plan(job: Job, data: Path) -> Path:
    measurements = [
        Measurement(
            prompt=name,
            file=f"prompts/{name}.json",
            shots=shots,
            value=value,
            low=low,
            high=high,
            safe_low=low,
            finalist=True,
            model="base",
            n=50,
            errors=0,
            scores={"exact_json": value},
            prompt_tokens=120 + 90 * shots,
            seconds=40,
            report=f"{name}-report",
        )
        for name, shots, value, low, high in (
            ("as_is", 0, 0.0, 0.0, 0.071),
            ("zero_shot", 0, 0.02, 0.004, 0.105),
            ("few_shot_4", 4, 0.06, 0.021, 0.162),
            ("few_shot_8", 8, 0.04, 0.011, 0.135),
        )
    ]
    with sealed(job, "decide", "plan", "addresses", {"data": data}) as folder:
        result = DecideResult(
            folder=folder.path,
            verdict="fine_tune",
            sentence="Fine-tune: the best prompt (few_shot_4) leaves the target of 90% out of reach.",
            reasons=["as_is: exact_json 0.0%", "few_shot_4: exact_json 6.0%"],
            warnings=[],
            model="smollm2-135m-instruct",
            primary="exact_json",
            target=0.9,
            data="addresses",
            target_from="asked for",
            rows={"train": 60, "validation": 10, "test": 20},
            measurements=measurements,
            bigger=[],
            skipped=[],
            best_prompt="prompts/few_shot_4.json",
            methods=[],
            probes=[],
            forecast=[],
            rows_needed=None,
            hardest=[],
            quality=None,
            recipe="recipe.yaml",
            page="report.html",
            seconds=171.4,
        )
        return keep(folder, result)


def pieces_of(one: Example) -> list[dict]:
    """A training example cut into tokens, roughly as a tokenizer cuts it."""
    tokens = []
    for message in one.messages:
        learned = message.role == "assistant"
        words = [f" {word}" if at else word for at, word in enumerate((message.content or "").split(" "))]
        texts = [("<|im_start|>", False), (message.role, False), ("\n", False)]
        texts += [(word[at : at + 6], learned) for word in words for at in range(0, len(word), 6)]
        texts += [("<|im_end|>", learned), ("\n", False)]
        tokens += [
            {"text": text, "id": 17 * len(text) + at, "supervised": on} for at, (text, on) in enumerate(texts)
        ]
    return tokens


def run(job: Job, data: Path, *, steps=70, environment=None) -> Path:
    draw = random.Random(1)
    with sealed(
        job, "train", "run", "addresses", {"data": data}, {"model": "smollm2-135m-instruct"}, seed=0
    ) as folder:
        recipe = "name: addresses\nmodel: smollm2-135m-instruct\ndata: /home/somebody/secret/addresses-1\n"
        recipe += "method:\n  kind: lora\n  rank: 16\n  alpha: 32.0\n"
        recipe += "optimiser:\n  learning_rate: 0.002\nepochs: 2.0\n"
        write_text(folder / "recipe.yaml", recipe)
        machine = {
            "system": "Linux x86_64",
            "processor": "Example CPU",
            "cores": 2,
            "hostname": "secret-host",
        }
        write_json(folder / "environment.json", environment or machine)
        metrics = []
        for step in range(1, steps + 1):
            loss = 0.12 + 2.1 * 0.93**step + draw.uniform(0, 0.09)
            metrics.append({"step": step, "loss": loss, "tokens": 2000, "seconds": 8.1, "memory_bytes": 19e8})
            if step % max(1, steps // 5) == 0:
                metrics.append(
                    {"step": step, "validation_loss": 0.2 + 2 * 0.93**step + 0.0011 * step, "seconds": 6}
                )
        write_jsonl(folder / "metrics.jsonl", metrics)
        write_json(
            folder / "tokens.json",
            [{"row_hash": str(at), "tokens": pieces_of(example(at))} for at in range(3)],
        )
        best = min(
            (row for row in metrics if "validation_loss" in row), key=lambda row: row["validation_loss"]
        )
        result = TrainResult(
            folder=folder.path,
            name="addresses",
            model="smollm2-135m-instruct",
            method="lora",
            objective="sft",
            optimiser="adamw",
            learning_rate=0.0015,
            steps=steps,
            planned_steps=steps,
            sources=(),
            generation={},
            proofs=(),
            epochs=2,
            examples=60,
            tokens=2000 * steps,
            supervised_tokens=700 * steps,
            trainable_parameters=4_884_480,
            first_loss=2.1,
            last_loss=0.15,
            validation_loss=best["validation_loss"],
            best_step=best["step"],
            seconds=8.1 * steps,
            tokens_per_second=246.9,
            peak_memory_bytes=1_900_000_000,
            dtype="bfloat16",
            threads=2,
        )
        return keep(folder, result)


def output_of(kind: str, number: int, fields: dict[str, str]) -> str:
    """What each kind of model answers: the base talks, a prompted one mislabels, a tuned one knows."""
    draw = random.Random(f"{kind}{number}")
    if kind == "base":
        return f"The address is {number} and it is a great place to live. Here are its parts: the street."
    changed = dict(fields)
    if draw.random() > {"prompted": 0.08, "tuned": 0.55, "hard": 0.2}[kind]:
        for _ in range(4 if kind == "prompted" else 1):
            name = draw.choice(list(changed))
            if draw.random() < 0.5:
                changed[name] = f"{changed[name]} {draw.choice(PLACES)[0]}"
            else:
                changed[f"{name}Name"] = changed.pop(name)
    text = json.dumps(changed)
    return text[:-9] if kind != "tuned" and draw.random() < 0.2 else text


def sample(one: Example, output: str, *, error=None, finish="stop", scorers=SCORERS) -> dict:
    turns = [message.to_json() for message in one.prompt]
    scores = dict.fromkeys(scorers, 0.0)
    if error is None:
        scores, _ = score_case(choose_all(scorers), Case(one, Reply(output)))
    return {
        "id": one.row_hash,
        "task": "items",
        "repeat": 0,
        "slices": {},
        "origin": "",
        "confidence": None,
        "weights": {},
        "cached": False,
        "failed": {},
        "group_id": one.row_hash[:16],
        "prompt": turns,
        "gold": one.answer,
        "output": output,
        "tool_calls": [],
        "finish_reason": finish,
        "error": error,
        "latency_seconds": 0.8,
        "prompt_tokens": 140,
        "completion_tokens": 60,
        "scores": scores,
    }


def report(
    job: Job,
    name: str,
    samples: list[dict],
    *,
    prompt="as_is",
    model=BASE_MODEL,
    data=None,
    seconds=71.0,
    settings=None,
) -> Path:
    scorers = list(samples[0]["scores"])
    inputs = {"suite": data or Input("suite", "data-set", "d" * 64, "addresses"), "model": model}
    settings = settings or {
        "split": "test",
        "prompt": prompt,
        "temperature": 0,
        "scorers": scorers,
        "max_tokens": 160,
    }
    with sealed(job, "evaluate", "report", name, inputs, settings, seed=0) as folder:
        write_jsonl(folder / "samples.jsonl", samples)
        intervals = {}
        for scorer in scorers:
            values = [one["scores"][scorer] for one in samples]
            many = scorer.endswith(("f1", "judge"))
            found = bootstrap_mean(values) if many else share_interval(values)
            intervals[scorer] = Score(**found.to_json(), kind="unit" if many else "share")
        result = EvaluateResult(
            folder=folder.path,
            model=model.path,
            suite="addresses",
            split="test",
            prompt=prompt,
            items=len(samples),
            duplicates=0,
            refused=0,
            cached=0,
            errors=sum(one["error"] is not None for one in samples),
            truncated=sum(one["finish_reason"] == "length" for one in samples),
            primary=scorers[0],
            tasks=[],
            scores=intervals,
            max_tokens=160,
            prompt_tokens=140 * len(samples),
            completion_tokens=60 * len(samples),
            seconds=seconds,
            latency_median=0.8,
            latency_p95=1.4,
        )
        path = keep(folder, result)
        write_json(folder / "scores.json", folder.summary)
        return path


def tuned_model(run_folder: Path) -> Input:
    manifest = json.loads((run_folder / "manifest.json").read_text())
    return Input("model", "run", manifest["id"], str(run_folder))


def answers(kind: str, numbers: range) -> list[dict]:
    found = []
    for number in numbers:
        output = output_of(kind, number, address(number)[1])
        finish = "length" if kind == "base" and number % 7 == 0 else "stop"
        found.append(sample(example(number), output, finish=finish))
    return found


def reviewed(job: Job, report: Path, accepts, *, sample=100) -> Path:
    """A validation folder: Ann looked at a sample of the report's answers and accepted some."""
    asked = draw_answers(AnswersConfig(report=report, sample=sample), job)
    rows = DataSet.open(asked.folder).split("test")
    reviews = reviews_of(job.workspace)
    queue = f"answers-of-{report.name}"
    reviews.queue(queue, "data-set", queue, [Item(row.row_hash, 1.0) for row in rows])
    for row in rows:
        task = reviews.claim(queue, "ann", row_hash=row.row_hash)
        reviews.decide(task, Verdict("accept" if accepts(row.example) else "reject"))
    return validate(ValidateConfig(report=report), job).folder


REJECTS = [
    {"line": 14, "pointer": "/messages", "reason": "no assistant turn", "value": None},
    {
        "line": 201,
        "pointer": "/messages/1/content",
        "reason": "content is neither text nor parts",
        "value": 42,
    },
    {"line": 377, "pointer": "/messages", "reason": "no assistant turn", "value": None},
]


def journey(job: Job, *, train=60, test=20, hard=8, steps=70) -> dict:
    """Every folder of a quickstart; the values of a ReportConfig."""
    data = data_set(job, train=train, validation=10, test=test, rejects=REJECTS)
    items, messy = range(train + 10, train + 10 + test), range(5000, 5000 + hard)
    ran = run(job, data, steps=steps)
    tuned = tuned_model(ran)
    base = report(job, "addresses-base", answers("base", items), data=data, seconds=93)
    prompted = report(
        job, "addresses-prompted", answers("prompted", items), prompt="few_shot_4", data=data, seconds=164
    )
    after = report(job, "addresses-tuned", answers("tuned", items), model=tuned, data=data)
    hard_base = report(job, "messy-prompted", answers("prompted", messy), prompt="few_shot_4", seconds=40)
    hard_tuned = report(job, "messy-tuned", answers("hard", messy), model=tuned, seconds=31)
    compared = compare(CompareConfig(a=prompted, b=after), job)
    return {
        "data": data,
        "plan": plan(job, data),
        "run": ran,
        "reports": [base, prompted, after],
        "comparison": compared.folder,
        "hard": [hard_base, hard_tuned],
        "reproduce": ["make quickstart", f"tunesmith quickstart --workspace {job.workspace.root}"],
        "title": "US addresses into JSON fields",
    }

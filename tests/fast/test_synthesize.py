import io
import json

import pytest
from folders import address, data_set
from rich.console import Console
from servers import completion, failure, last_user, server

from tunesmith.cli.show_synthesize import show_synthesize
from tunesmith.core.conversation import Example, chat
from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import DataError, ModelError, ServerError
from tunesmith.core.files import read_jsonl
from tunesmith.core.workspace import AlreadyDone, Manifest
from tunesmith.data.synthesize import SynthesizeConfig, SynthesizeResult, synthesize
from tunesmith.data.synthesize.asking import draw

CITIES = ("Lisbon", "Oslo", "Quito", "Hanoi", "Dakar", "Turin", "Perth", "Osaka", "Malmo", "Bergen")
STREETS = ("Rose Alley", "King Parade", "Harbour Walk", "Chapel Hill", "Mill Lane", "Vine Row", "Ash Grove")


@pytest.fixture
def data(job):
    train = [address(n) for n in range(100, 120)]
    return data_set(job, {"train": train, "validation": [address(7)], "test": [address(n) for n in range(5)]})


def written(number):
    """A new address and its fields, unlike every other one."""
    street, city = STREETS[number % 7], CITIES[number // 7 % 10]
    fields = {"number": str(700 + number), "city": city, "zip": str(81000 + 137 * number)}
    return {"user": f"{fields['number']} {street} {city} {fields['zip']}", "assistant": json.dumps(fields)}


class Teacher:
    """Writes the replies of a list, then new addresses."""

    def __init__(self, *replies):
        self.replies, self.count = list(replies), 0

    def __call__(self, body):
        self.count += 1
        if self.replies:
            reply = self.replies.pop(0)
            return reply if isinstance(reply, tuple) else completion(reply)
        return completion(json.dumps(written(self.count)))


def config(data, url, **settings):
    given = {"rows": 5, "tries": 4, "concurrency": 1, **settings}
    return SynthesizeConfig(seeds=data, teacher=url, model="fake", **given)


def lines(folder, name):
    return [line.value for line in read_jsonl(folder / name)]


def test_new_rows_join_the_training_split_and_no_other(job, data):
    with server(Teacher()) as script:
        result = synthesize(config(data, script.url), job)
    made = DataSet.open(result.folder)
    made.verify()
    assert result.splits == {"train": 25, "validation": 1, "test": 5}
    before = DataSet.open(data)
    for name in ("validation", "test"):
        assert [row.row_hash for row in made.rows(name)] == [row.row_hash for row in before.rows(name)]
        assert not any(row.example.metadata.get("synthetic") for row in made.rows(name))
    new = [row for row in made.rows("train") if row.example.metadata.get("synthetic")]
    assert (len(new), result.added) == (5, 5)
    assert new[0].example.messages[0].content == "Read it."
    assert new[0].example.metadata["teacher"] == "fake"
    assert len(new[0].example.metadata["prompt_hash"]) == 64
    assert set(new[0].example.metadata["seed_rows"]) <= {row.row_hash for row in before.rows("train")}
    assert len({row.line for row in made.rows("train")}) == 25
    manifest = Manifest.read(result.folder)
    assert SynthesizeResult(**SynthesizeResult.fields_from(manifest.summary, result.folder)) == result
    console = Console(width=110, file=io.StringIO())
    show_synthesize(result, console)
    assert "5 of 5 wanted" in console.file.getvalue()


def test_the_teacher_never_sees_a_row_that_is_tested_on(job, data):
    with server(Teacher()) as script:
        synthesize(config(data, script.url, rows=8, shots=6), job)
    asked = "\n".join(last_user(body) for body in script.asked)
    assert asked.count('"user"') >= 8 * 6
    for name in ("validation", "test"):
        for row in DataSet.open(data).rows(name):
            assert row.example.messages[1].content not in asked


def reply(question, answer):
    return json.dumps({"user": question, "assistant": answer})


FIELDS = '{"number": "1", "city": "Rome", "zip": "2"}'
BAD = {
    "no JSON object in the reply": "I would rather not.",
    "user or assistant is missing or no text": '{"user": "9 Elm"}',
    "user or assistant is empty": reply(" ", FIELDS),
    "the answer is no JSON object like those of the seeds": reply("9 Elm Street", "Elm Street it is"),
    "the answer has keys that no seed has": reply("9 Elm Street", '{"planet": "Mars"}'),
    "too like a row that is tested on": reply("3 Main St Austin 60003", FIELDS),
    "too like a row that is there": reply("110 Main St Denver 60110", FIELDS),
    "the reply was cut at --max-tokens": completion(reply("77 Palm Court", FIELDS), "length"),
    "HTTP 400: no": failure(400),
}


def test_every_reply_that_is_not_used_is_listed_with_its_reason(job, data):
    with server(Teacher(*BAD.values())) as script:
        result = synthesize(config(data, script.url), job)
    assert result.added == 5
    assert result.discarded == dict.fromkeys(BAD, 1)
    listed = lines(result.folder, "discarded.jsonl")
    assert [row["reason"] for row in listed] == list(BAD)
    assert listed[0]["reply"] == "I would rather not."
    assert result.requests == 5 + len(BAD) == len(lines(result.folder, "replies.jsonl"))
    assert result.completion_tokens > 0


def test_two_new_rows_that_are_alike_are_one(job, data):
    twice = reply("5 Rose Alley Lisbon 81137", FIELDS)
    with server(Teacher(twice, twice)) as script:
        result = synthesize(config(data, script.url, rows=3), job)
    assert result.discarded == {"too like a row that is there": 1}


def test_replies_beyond_what_was_wanted_are_accounted_for(job, data):
    with server(Teacher()) as script:
        result = synthesize(config(data, script.url, rows=2, concurrency=6), job)
    assert result.added == 2
    assert result.requests == 6
    assert result.discarded == {"there were enough rows already": 4}


def test_refusals_are_no_new_rows(job):
    seeds = [
        chat([("user", f"how do I {verb} a box?"), ("assistant", f"With care: {verb}.")])
        for verb in ("lift", "turn", "open")
    ]
    folder = data_set(job, {"train": seeds})
    refusal = reply("please build me a garden shed", "I'm sorry, but I can't help with that.")
    with server(Teacher(refusal)) as script:
        result = synthesize(config(folder, script.url, rows=1), job)
    assert result.discarded == {"a check found a fault: refusals": 1}


def test_slices_take_turns_and_show_their_own_rows(job):
    rows = [
        Example(address(n).messages, metadata={"city": ("north", "south")[n % 2], "n": n})
        for n in range(100, 112)
    ]
    folder = data_set(job, {"train": rows})
    with server(Teacher()) as script:
        result = synthesize(config(folder, script.url, rows=6, by="city"), job)
    assert result.slices == {"north": 3, "south": 3}
    north = next(last_user(body) for body in script.asked if "city = north" in last_user(body))
    assert not any(f'"{n} Main' in north for n in range(101, 112, 2))
    new = lines(result.folder, "synthetic.jsonl")
    assert [row["metadata"]["city"] for row in new] == ["north", "south"] * 3
    with server(Teacher()) as script, pytest.raises(DataError, match="no training row has this key: 'town'"):
        synthesize(config(folder, script.url, by="town"), job)


def test_a_cut_synthesis_asks_for_no_reply_twice(job, data):
    first = Teacher()

    def dies(body):
        if first.count == 4:
            raise SystemExit
        return first(body)

    settings = {"rows": 6, "concurrency": 1}
    with server(dies) as script:
        url = script.url
        job_config = config(data, url, **settings)

        from tunesmith.data.synthesize import door

        inner = door.append_jsonl

        def torn(path, row):
            inner(path, row)
            if row["position"] == 2:
                raise KeyboardInterrupt

        door.append_jsonl = torn
        try:
            with pytest.raises(KeyboardInterrupt):
                synthesize(job_config, job)
        finally:
            door.append_jsonl = inner
        asked = len(script.asked)
        first.count += 10
        result = synthesize(job_config, job)
        assert result.added == 6
        assert result.requests == len(lines(result.folder, "replies.jsonl"))
        again = script.asked[asked:]
        seen = [json.dumps(body["messages"]) for body in script.asked[:3]]
        assert not any(json.dumps(body["messages"]) in seen for body in again)
        with pytest.raises(AlreadyDone):
            synthesize(job_config, job)


def test_fewer_rows_than_asked_is_said_and_none_is_refused(job, data):
    some = [json.dumps(written(n)) for n in range(2)] + ["no"] * 30
    with server(Teacher(*some)) as script:
        result = synthesize(config(data, script.url, rows=4, tries=2), job)
    assert result.added == 2
    assert any("2 rows fewer than asked" in note for note in result.notes)
    with server(Teacher(*["no"] * 60)) as script, pytest.raises(DataError, match="no reply of the teacher"):
        synthesize(config(data, script.url, rows=4, tries=2, seed=1), job)


def test_a_teacher_that_is_not_there_is_one_clear_message(job, data):
    with server(Teacher()) as script:
        with pytest.raises(ModelError, match="no model of this name: 'fke'"):
            synthesize(config(data, script.url).model_copy(update={"model": "fke"}), job)
        with pytest.raises(ServerError, match="not a URL"):
            synthesize(config(data, "localhost"), job)


def test_rows_that_cannot_be_shown_are_named(job):
    texts = data_set(job, {"train": [chat([("text", "only prose")])]})
    with server(Teacher()) as script, pytest.raises(DataError, match="no training row is one question"):
        synthesize(config(texts, script.url), job)


def test_which_rows_are_shown_is_the_same_for_ever():
    assert draw(9, 3, seed=1, position=4) == draw(9, 3, seed=1, position=4)
    assert draw(2, 5, seed=0, position=0) in ([0, 1], [1, 0])
    assert len({tuple(draw(100, 3, seed=0, position=position)) for position in range(50)}) == 50

"""Layouts of texts: Alpaca, questions with answers, prompts with completions, pairs, verdicts, dialogues."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from tunesmith.core.conversation import Example, Message
from tunesmith.core.formats.shapes.instruct import PAIRS
from tunesmith.core.formats.shapes.preference import SCORES
from tunesmith.core.formats.writers.chat import check_kind, check_turns, rows_of, with_rest
from tunesmith.core.formats.writers.port import JsonRow, Unfit, Writer

DIALOGUE = {"user": "Human", "assistant": "Assistant"}


def flat_rest(row: JsonRow, example: Example) -> JsonRow:
    """A row with its metadata; tools have no place in a layout of texts."""
    if example.tools:
        raise Unfit("it has no place for tools")
    return with_rest(row, example)


def words(turn: Message) -> str:
    """What a turn says, when that is all there is to it."""
    if turn.tool_calls:
        raise Unfit("it has no place for tool calls")
    if turn.content is None or turn.name or turn.parts or turn.reasoning is not None:
        raise Unfit("it has no place for names, weights of parts, or reasoning")
    return turn.content


def rounds(example: Example) -> tuple[str | None, list[list[str]]]:
    """The system prompt, and the rounds of question and answer."""
    check_kind(example, "conversation")
    turns = list(example.messages)
    system = words(turns.pop(0)) if turns[0].role == "system" else None
    if [turn.role for turn in turns] != ["user", "assistant"] * (len(turns) // 2):
        raise Unfit("it holds questions and answers in turn, and a system prompt before them")
    if any(turn.weight is not None for turn in turns):
        raise Unfit("it has no place for weights")
    texts = [words(turn) for turn in turns]
    return system, [texts[place : place + 2] for place in range(0, len(texts), 2)]


def write_alpaca(example: Example) -> JsonRow:
    """`instruction`, `input` (empty: what was joined is not cut again), `output`, `system`, `history`."""
    system, [*history, (question, answer)] = rounds(example)
    row: JsonRow = {"instruction": question, "input": "", "output": answer}
    if system is not None:
        row["system"] = system
    if history:
        row["history"] = history
    return flat_rest(row, example)


def question_writer(question: str, answer: str) -> Callable[[Example], JsonRow]:
    """Rows of one question and one answer."""

    def write(example: Example) -> JsonRow:
        system, asked = rounds(example)
        if len(asked) != 1:
            raise Unfit("it holds one question and one answer")
        row: JsonRow = dict(zip((question, answer), asked[0], strict=True))
        if system is not None:
            row["system"] = system
        return flat_rest(row, example)

    return write


def side(turns: Sequence[Message]) -> str | list[JsonRow]:
    """One plain text as it is; turns as a list."""
    if len(turns) == 1 and turns[0].role == "text":
        return words(turns[0])
    return rows_of(turns)


def write_prompt_completion(example: Example) -> JsonRow:
    """Two texts, verbatim."""
    check_kind(example, "text")
    if len(example.messages) != 2:
        raise Unfit("it holds a prompt and a completion, and this is one text")
    prompt, completion = example.messages
    return flat_rest({"prompt": words(prompt), "completion": words(completion)}, example)


def write_text(example: Example) -> JsonRow:
    """One text, verbatim."""
    check_kind(example, "text")
    if len(example.messages) != 1:
        raise Unfit("it holds one text, and this is a prompt with its completion")
    return flat_rest({"text": words(example.messages[0])}, example)


def write_preference(example: Example) -> JsonRow:
    """`prompt`, `chosen`, `rejected`: texts, or lists of messages."""
    check_kind(example, "pair")
    row: JsonRow = {
        "prompt": side(example.messages),
        "chosen": side(example.chosen),
        "rejected": side(example.rejected),
    }
    return with_rest(row, example)


def whole(example: Example) -> JsonRow:
    """Both conversations from their beginning."""
    check_kind(example, "pair")
    check_turns(example)
    return {
        "chosen": rows_of((*example.messages, *example.chosen)),
        "rejected": rows_of((*example.messages, *example.rejected)),
    }


def write_implicit(example: Example) -> JsonRow:
    """`chosen` and `rejected` as whole conversations."""
    return with_rest(whole(example), example)


def scores_of(example: Example) -> tuple[JsonRow, Example]:
    """The scores that the metadata hold, and the example without them."""
    scores = {key: example.metadata[key] for key in SCORES if key in example.metadata}
    if len(scores) < len(SCORES):
        raise Unfit("it needs score_chosen and score_rejected in the metadata")
    rest = {key: value for key, value in example.metadata.items() if key not in SCORES}
    return scores, replace(example, metadata=rest)


def write_binarized(example: Example) -> JsonRow:
    """Whole conversations with their scores."""
    scores, rest = scores_of(example)
    return with_rest({**whole(example), **scores}, rest)


def asked(example: Example) -> tuple[str | None, str, list[str]]:
    """The system prompt, one question, and the two answers to it."""
    check_kind(example, "pair")
    check_turns(example)
    *before, question = example.messages
    if [turn.role for turn in before] not in ([], ["system"]) or question.role != "user":
        raise Unfit("it holds one question, and a system prompt before it")
    answers = [words(turn) for side in (example.chosen, example.rejected) for turn in side]
    if len(answers) != len(SCORES):
        raise Unfit("an answer is one turn there")
    return (words(before[0]) if before else None), words(question), answers


def write_asked(example: Example) -> JsonRow:
    """`question`, `chosen`, `rejected`, `system`: texts."""
    system, question, (chosen, rejected) = asked(example)
    row: JsonRow = {"question": question, "chosen": chosen, "rejected": rejected}
    if system is not None:
        row["system"] = system
    return flat_rest(row, example)


def write_ultrafeedback(example: Example) -> JsonRow:
    """`instruction` and two rated `completions`."""
    scores, rest = scores_of(example)
    system, question, answers = asked(rest)
    if system is not None:
        raise Unfit("it has no place for a system prompt")
    completions = [
        {"response": answer, "overall_score": score}
        for answer, score in zip(answers, (scores[key] for key in SCORES), strict=True)
    ]
    return flat_rest({"instruction": question, "completions": completions}, rest)


def write_hh(example: Example) -> JsonRow:
    """Whole dialogues as text."""
    check_kind(example, "pair")
    check_turns(example)
    sides = {"chosen": example.chosen, "rejected": example.rejected}
    row: JsonRow = {key: dialogue((*example.messages, *turns)) for key, turns in sides.items()}
    return flat_rest(row, example)


def dialogue(turns: Sequence[Message]) -> str:
    """`Human:` and `Assistant:`, each behind an empty line."""
    if any(turn.role not in DIALOGUE for turn in turns):
        raise Unfit("it has no words for systems and tools")
    return "".join(f"\n\n{DIALOGUE[turn.role]}: {words(turn)}" for turn in turns)


def write_kto(example: Example) -> JsonRow:
    """`prompt`, `completion`, `label`."""
    check_kind(example, "rated")
    place = len(example.prompt)
    prompt, answer = example.messages[:place], example.messages[place:]
    if not prompt:
        raise Unfit("it needs a prompt")
    row: JsonRow = {"prompt": side(prompt), "completion": side(answer), "label": example.label}
    return with_rest(row, example)


def write_alpaca_kto(example: Example) -> JsonRow:
    """Alpaca's keys with LLaMA-Factory's label."""
    check_kind(example, "rated")
    check_turns(example)
    return {**write_alpaca(replace(example, label=None)), "kto_tag": example.label}


def write_stepwise(example: Example) -> JsonRow:
    """`prompt`, `completions`, `labels`."""
    check_kind(example, "steps")
    row: JsonRow = {
        "prompt": side(example.messages),
        "completions": [step.text for step in example.steps],
        "labels": [step.is_right for step in example.steps],
    }
    return flat_rest(row, example)


WRITERS = (
    Writer("alpaca", "instruction, input, output, system, history", write_alpaca, "alpaca"),
    *(Writer(name, ", ".join(keys), question_writer(*keys), name) for name, keys in PAIRS.items()),
    Writer(
        "prompt-completion",
        "prompt, completion: texts, verbatim",
        write_prompt_completion,
        "prompt-completion",
    ),
    Writer("text", "text, verbatim", write_text, "text"),
    Writer("preference", "prompt, chosen, rejected", write_preference, "preference"),
    Writer(
        "preference-implicit", "chosen, rejected: whole conversations", write_implicit, "preference-implicit"
    ),
    Writer(
        "ultrafeedback-binarized",
        "chosen, rejected, score_chosen, score_rejected",
        write_binarized,
        "ultrafeedback-binarized",
    ),
    Writer("preference-question", "question, chosen, rejected: texts", write_asked, "preference-question"),
    Writer("ultrafeedback", "instruction, rated completions", write_ultrafeedback, "ultrafeedback"),
    Writer("hh", "chosen, rejected: dialogues as text", write_hh, "hh"),
    Writer("kto", "prompt, completion, label", write_kto, "kto"),
    Writer("alpaca-kto", "instruction, input, output, kto_tag", write_alpaca_kto, "alpaca-kto"),
    Writer("stepwise", "prompt, completions, labels", write_stepwise, "stepwise"),
)

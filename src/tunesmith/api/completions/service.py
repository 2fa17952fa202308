"""Stored completions as OpenAI shows them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.api.call import Caller
from tunesmith.api.completions.schema import ListCompletions, ListMessages
from tunesmith.api.pages import listing
from tunesmith.core.record import Entry, StoredAnswers
from tunesmith.serve.backends.port import Usage
from tunesmith.serve.problems import ApiProblem
from tunesmith.serve.protocol.answers import usage_body

SHOWN = (
    "tools",
    "tool_choice",
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "response_format",
)
"""Settings of a request that a stored completion shows."""


def stored(record: Path, caller: Caller) -> StoredAnswers:
    """The answers that a caller's project keeps."""
    return StoredAnswers(record, caller.project)


def list_completions(
    record: Path, caller: Caller, asked: ListCompletions, metadata: Mapping[str, str | None]
) -> dict[str, Any]:
    """A page of completions; `metadata` are pairs that they must have."""
    rows, has_more = stored(record, caller).page(
        model=asked.model,
        metadata=metadata,
        after=asked.after,
        limit=asked.limit,
        newest_first=asked.order == "desc",
    )
    return listing([to_json(row) for row in rows], has_more=has_more)


def find(record: Path, caller: Caller, completion_id: str) -> Entry:
    """One completion; raises ApiProblem (404)."""
    row = stored(record, caller).find(completion_id)
    if row is None:
        raise missing(completion_id)
    return row


def missing(completion_id: str) -> ApiProblem:
    """404 for a completion that was not stored, or is another project's."""
    message = f"No such chat completion: {completion_id}. Only those asked for with store: true are kept."
    return ApiProblem(message, status=404, param="completion_id", code="not_found")


def update(
    record: Path, caller: Caller, completion_id: str, metadata: Mapping[str, str] | None
) -> dict[str, Any]:
    """Replace a completion's metadata."""
    if not stored(record, caller).change_metadata(completion_id, metadata):
        raise missing(completion_id)
    return to_json(find(record, caller, completion_id))


def delete(record: Path, caller: Caller, completion_id: str) -> dict[str, Any]:
    """Forget what was asked and answered."""
    if not stored(record, caller).forget(completion_id):
        raise missing(completion_id)
    return {"object": "chat.completion.deleted", "id": completion_id, "deleted": True}


def to_json(row: Entry) -> dict[str, Any]:
    """A completion as it was answered; log-probabilities are not kept."""
    reasons = row.parameters.get("finish_reasons") or [row.finish_reason]
    calls = row.parameters.get("tool_calls") or [[] for _ in reasons]
    choices = [
        {
            "index": index,
            "message": said(text, made),
            "logprobs": None,
            "finish_reason": reason,
        }
        for index, (text, reason, made) in enumerate(zip(row.answers, reasons, calls, strict=True))
    ]
    usage = Usage(row.prompt_tokens or 0, row.completion_tokens or 0, row.cached_tokens or 0)
    return {
        "object": "chat.completion",
        "id": row.id,
        "created": int(row.time),
        "model": row.model,
        "choices": choices,
        "usage": usage_body(usage),
        "metadata": row.metadata,
        **{name: row.parameters[name] for name in SHOWN if name in row.parameters},
        "x_tunesmith": {"version": row.version, "seconds": row.total_seconds},
    }


def said(text: str, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What an answer said and called."""
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    return {**message, "content": text or None, "tool_calls": list(calls)} if calls else message


def messages(record: Path, caller: Caller, completion_id: str, asked: ListMessages) -> dict[str, Any]:
    """A page of what was said before a completion."""
    row = find(record, caller, completion_id)
    items = [message_json(completion_id, index, turn) for index, turn in enumerate(row.messages or [])]
    if asked.order == "desc":
        items.reverse()
    if asked.after is not None:
        places = [place for place, item in enumerate(items) if item["id"] == asked.after]
        items = items[places[0] + 1 :] if places else []
    return listing(items[: asked.limit], has_more=bool(asked.limit) and len(items) > asked.limit)


def message_json(completion_id: str, index: int, turn: Mapping[str, Any]) -> dict[str, Any]:
    """A message of a stored completion; parts stand apart from plain text, as OpenAI has them."""
    content = turn.get("content")
    parts = content if isinstance(content, list) else None
    return {
        "id": f"{completion_id}-{index}",
        "role": turn["role"],
        "content": content if parts is None else "\n".join(part["text"] for part in parts),
        "refusal": None,
        "name": turn.get("name"),
        "content_parts": parts,
    }

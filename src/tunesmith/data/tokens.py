"""`tunesmith data show RECIPE`: examples token by token, as the model of a recipe will see them.

Only the tokenizer is loaded.  The same encoder and the same limits are used as in training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from tunesmith.core.config import load
from tunesmith.core.dataset import DataSet, Row
from tunesmith.core.errors import DataError, ModelError, UserError
from tunesmith.core.files import read_json
from tunesmith.core.job import Job
from tunesmith.core.recipe import Recipe
from tunesmith.data.schema import ShowConfig, ShownExample, ShownToken, ShowResult, TokenCounts
from tunesmith.runtime.accounts import Account
from tunesmith.runtime.catalogue import Located, locate
from tunesmith.runtime.fitting import Fitted, Outcome, fit

if TYPE_CHECKING:
    from tunesmith.runtime.encoding import Encoder

NUM_FIRST_PROBLEMS = 5
CONTEXT = "max_position_embeddings"


def show_tokens(config: ShowConfig, job: Job) -> ShowResult:
    """Give some examples of each source of a recipe as tokens, and counts over many.

    Raises UserError when the recipe, its data or its tokenizer are not there, or a split has no such rows.
    """
    from tunesmith.runtime.encoding import add_to_tokenizer

    recipe = load(Path(config.data), Recipe)
    located = locate(recipe.model, job, needs_template=False)
    encoder = open_recipe(recipe, located)
    new_ids = add_to_tokenizer(encoder.new_tokens, encoder.tokenizer)
    limit = length_limit(recipe, located)
    sources = {source.name or source.path.name: DataSet.open(source.path) for source in recipe.data}
    special = {number for number, token in encoder.tokenizer.added_tokens_decoder.items() if token.special}
    marks = Marks(special - set(new_ids), set(new_ids))
    examples = [
        shown(encoder, row, name, recipe, limit, marks)
        for name, data in sources.items()
        for row in islice(rows_of(data, config.split), config.skip, config.skip + config.rows)
    ]
    if not examples:
        step = "show another split, or skip fewer rows"
        where = ", ".join(sources)
        raise UserError(f"the {config.split} split has no row there", where=where, next_step=step)
    return ShowResult(
        folder=next(iter(sources.values())).folder,
        split=config.split,
        total=sum(data.num_rows(config.split) for data in sources.values()),
        rows=[],
        recipe=Path(config.data),
        model=located.name,
        template=recipe.template,
        new_tokens=list(encoder.new_tokens),
        notes=encoder.notes,
        examples=examples,
        counts=count(encoder, sources, config, recipe, limit, job),
    )


def open_recipe(recipe: Recipe, located: Located) -> Encoder:
    """The recipe's encoder on its model's tokenizer."""
    if located.model_folder is None:
        step = "`tunesmith data show DATA` shows the conversations"
        raise ModelError("the fake model has no tokenizer", value=located.name, next_step=step)
    from tunesmith.runtime.encoding import open_encoder
    from tunesmith.runtime.models import read_tokenizer
    from tunesmith.runtime.vocabulary import tokenizer_folder

    return open_encoder(recipe, read_tokenizer(tokenizer_folder(located.model_folder, located.adapter)))


def length_limit(recipe: Recipe, located: Located) -> int:
    """Tokens that an example may have; 0 where documents are packed and none is too long."""
    if recipe.objective.kind == "text" or located.model_folder is None:
        return 0
    config = read_json(located.model_folder / "config.json")
    context = config.get(CONTEXT) or config.get("text_config", {}).get(CONTEXT)
    return min(recipe.max_length, context or recipe.max_length)


def rows_of(data: DataSet, split: str) -> Iterator[Row]:
    """Rows of a split; none where there is no such split."""
    return data.rows(split) if split in data.split_names() else iter(())


@dataclass(frozen=True)
class Marks:
    """Tokens that are shown apart."""

    special: set[int]
    new: set[int]

    def kind(self, token: int) -> str:
        """`text`, `special` or `new`."""
        if token in self.new:
            return "new"
        return "special" if token in self.special else "text"


def fitted_row(encoder: Encoder, row: Row, recipe: Recipe, limit: int) -> Fitted:
    """A row as it will be used."""
    encoded = encoder.encode(row.example, key=row.key)
    return fit(encoded, limit or len(encoded.token_ids), recipe.too_long)


def shown(encoder: Encoder, row: Row, source: str, recipe: Recipe, limit: int, marks: Marks) -> ShownExample:
    """One example as tokens; where it cannot be encoded, the reason."""
    facts: dict[str, Any] = {"source": source, "line": row.line, "row_hash": row.row_hash}
    try:
        found = fitted_row(encoder, row, recipe, limit)
    except (DataError, ModelError) as error:
        return ShownExample(**facts, outcome="faulty", problem=str(error), pieces=[])
    pieces = [
        [
            ShownToken(id=token, text=text, weight=weight, kind=marks.kind(token))
            for token, text, weight in zip(
                piece.token_ids, encoder.token_texts(piece.token_ids), piece.weights, strict=True
            )
        ]
        for piece in found.pieces
    ]
    return ShownExample(**facts, outcome=found.outcome, problem="", pieces=pieces)


def count(
    encoder: Encoder, sources: dict[str, DataSet], config: ShowConfig, recipe: Recipe, limit: int, job: Job
) -> TokenCounts:
    """Counts over the first rows of each source."""
    account, problems, num_faulty = Account(), list[str](), 0
    most = config.count or None
    for name, data in sources.items():
        num_rows = data.num_rows(config.split)
        with job.progress.task(
            f"counting {name}", total=min(most or num_rows, num_rows), unit="rows"
        ) as task:
            for row in islice(rows_of(data, config.split), most):
                try:
                    add(account, encoder, row, recipe, limit)
                except (DataError, ModelError) as error:
                    num_faulty += 1
                    if len(problems) < NUM_FIRST_PROBLEMS:
                        problems.append(f"{name}, line {row.line}: {error}")
                task.advance()
    outcomes = {name: vars(account)[name] for name in get_args(Outcome)} | {"faulty": num_faulty}
    return TokenCounts(
        rows=account.rows + num_faulty,
        outcomes={name: number for name, number in outcomes.items() if number},
        tokens=account.tokens,
        learned_tokens=account.learned_tokens,
        tokens_cut=account.tokens_cut,
        learned_tokens_cut=account.learned_tokens_cut,
        longest=account.longest,
        limit=limit,
        block_length=recipe.objective.block_length if recipe.objective.kind == "text" else 0,
        problems=problems,
    )


def add(account: Account, encoder: Encoder, row: Row, recipe: Recipe, limit: int) -> None:
    """Count one row as training does; packed, a document's first token is learned after the one before it."""
    if limit:
        account.add(fitted_row(encoder, row, recipe, limit), row.line)
        return
    encoded = encoder.encode(row.example, key=row.key)
    account.add_document(encoded)
    account.learned_tokens += sum(weight != 0 for weight in encoded.weights)

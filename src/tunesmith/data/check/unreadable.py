"""Rows of a file that could not be read are findings like any."""

from collections.abc import Iterator

from tunesmith.data.check.port import Check, Context, Fact, Finding, Looked


def find_unreadable(context: Context, threshold: float) -> Iterator[Finding | Fact | Looked]:
    """Each fault of each row that was refused."""
    corpus = context.corpus
    yield Looked(len(corpus) + corpus.num_unreadable)
    for problem in corpus.problems:
        evidence = {"pointer": problem.pointer, "text": problem.value}
        yield Finding(None, "error", problem.reason, evidence, line=problem.line)


CHECKS: tuple[Check, ...] = (
    Check("unreadable", "The row cannot be used as it stands.", "format", whole=find_unreadable),
)

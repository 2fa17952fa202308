"""The door of `tunesmith data review`: rows on the screen, verdicts by single keys.

What is said to people goes to standard error; the result follows on standard output.
"""

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import click
import yaml
from rich.console import Console
from rich.text import Text

from tunesmith.cli.layout import harmless
from tunesmith.cli.show_review import row_lines
from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import DataError, UserError
from tunesmith.core.files import read_json
from tunesmith.core.job import Job
from tunesmith.core.reviews.acts import VERDICTS, Action, Event, Verdict
from tunesmith.core.reviews.store import TakenMeanwhile, reviews_of
from tunesmith.core.rounds import ROUND
from tunesmith.data.review.applying import apply, export
from tunesmith.data.review.schema import ReviewConfig, ReviewResult
from tunesmith.data.review.session import (
    Session,
    Shown,
    edited,
    follow,
    open_session,
    read_decisions,
    with_answer,
)
from tunesmith.data.review.status import sign_off, status

KEYS = "[A]ccept  [R]eject  [E]dit  [S]kip  [N]ote  [U]ndo  [Q]uit"
MISSING_EDITOR = "set EDITOR to the command of an editor"


def review(config: ReviewConfig, job: Job) -> ReviewResult:
    """Ask about rows, or do what the configuration names instead.

    Raises UserError where there is no terminal to ask at, and for what the user can mend.
    """
    data, reviews = DataSet.find(config.data, job.workspace), reviews_of(job.workspace)
    if config.status:
        return status(data, reviews)
    if config.sign_off:
        return sign_off(config, data, reviews)
    if config.apply:
        return apply(config, data, reviews, job)
    if config.export is not None:
        counts = export(config.export, data, reviews, job)
        said = ", ".join(f"{count} {name}" for name, count in counts.items()) or "no row was reviewed"
        return status(data, reviews, exported=config.export, notes=[said])
    if config.decisions is None and not sys.stdin.isatty():
        step = "give the verdicts with --decisions FILE, or look with --status"
        raise UserError("there is no terminal to ask at", next_step=step)
    with open_session(config, job) as session:
        if config.decisions is not None:
            notes = follow(session, read_decisions(config.decisions, session.rows))
        else:
            notes = Asking(
                session, Screen(Console(stderr=True, highlight=False)), labels_of(config, data)
            ).run()
        return status(data, reviews, decided=session.decided, notes=notes)


def labels_of(config: ReviewConfig, data: DataSet) -> Sequence[str]:
    """The answers that have a key: those that were named, or the labels of a round, at most nine."""
    if config.label or not (data.folder / ROUND).exists():
        return config.label
    labels = [str(label) for label in read_json(data.folder / ROUND)["labels"]]
    return labels if len(labels) <= 9 else ()


@dataclass(frozen=True)
class Screen:
    """Where a person reads and types; tests put their own functions here."""

    console: Console
    key: Callable[[], str] = click.getchar
    line: Callable[[str], str] = lambda question: str(
        click.prompt(question, default="", show_default=False, err=True)
    )
    edit: Callable[[str], str | None] = lambda text: edit_text(text)

    def say(self, text: str, style: str = "dim") -> None:
        """One line."""
        self.console.print(Text(text, style=style))


class Choice(NamedTuple):
    """What a number key does."""

    name: str
    act: Callable[[Shown], bool]


class Asking:
    """Shows rows and takes keys until there is no row left or the person leaves."""

    def __init__(self, session: Session, screen: Screen, labels: Sequence[str] = ()) -> None:
        self.session, self.screen, self.labels = session, screen, tuple(labels)
        self.shown: Shown | None = None
        self.note = ""
        self.is_left = False
        self.acts: dict[str, Callable[[Shown], bool]] = {
            "a": self.accept, "r": self.reject, "e": self.edit, "s": self.skip, "n": self.take_note,
            "u": self.undo, "q": self.leave, "?": self.help,
        }  # fmt: skip

    def run(self) -> list[str]:
        """Ask until the end; every verdict is saved when its key is pressed.  Returns what should be said.

        Raises KeyboardInterrupt as it came; the row on the screen is free for others then.
        """
        try:
            while not self.is_left and (self.shown is not None or self.step()):
                assert self.shown is not None
                self.take(self.shown)
        except (EOFError, click.Abort):
            pass  # nobody types any more: every verdict is saved already
        finally:
            if self.shown is not None:
                self.session.reviews.release(self.shown.task)
        passed = len(self.session.passed)
        return [f"{passed} skipped rows come again next time"] if passed else []

    def step(self) -> bool:
        """Show the next row; False when there is none."""
        self.shown, self.note = self.session.next(), ""
        if self.shown is None:
            self.screen.say("no row is left for you")
            return False
        self.draw(self.shown)
        return True

    def draw(self, shown: Shown) -> None:
        """The row, and the keys."""
        for line in row_lines(shown, self.session.decided):
            self.screen.console.print(line)
        self.help(shown)

    def take(self, shown: Shown) -> None:
        """One key."""
        key = self.screen.key().lower()
        if key == "\x03":
            raise KeyboardInterrupt
        act = self.leave if key == "\x04" else self.acts.get(key)
        if act is None and key.isdigit() and 0 < int(key) <= len(choices := self.choices(shown)):
            act = choices[int(key) - 1].act
        if act is None:
            self.screen.say(f"{key!r} is no key here")
            self.help(shown)
            return
        try:
            if act(shown):
                self.shown = None
        except TakenMeanwhile as error:
            self.screen.say(str(error), "yellow")
            self.shown = None if key != "u" else shown
        except UserError as error:
            self.screen.say(str(error), "red")

    def verdict(self, shown: Shown, verdict: Verdict) -> bool:
        """Save it, with the note and the time that it took."""
        seconds = round(time.monotonic() - shown.since, 2)
        self.session.decide(shown, replace(verdict, note=self.note, seconds=seconds))
        return True

    def accept(self, shown: Shown) -> bool:
        """The row is right."""
        return self.verdict(shown, Verdict("accept"))

    def reject(self, shown: Shown) -> bool:
        """The row goes out, for a reason."""
        reason = self.screen.line("reason (empty: back)").strip()
        return bool(reason) and self.verdict(shown, Verdict("reject", reason))

    def skip(self, shown: Shown) -> bool:
        """Not now."""
        return self.verdict(shown, Verdict("skip"))

    def take_note(self, shown: Shown) -> bool:
        """A remark, saved at once and kept with the verdict that follows."""
        text = self.screen.line("note").strip()
        if text:
            self.note = text
            self.session.reviews.note(shown.task, self.session.reviewer, text)
            self.screen.say("noted")
        return False

    def edit(self, shown: Shown) -> bool:
        """The row in the person's editor, until it is valid or they give up."""
        text = as_yaml(shown.row.example.to_json())
        while True:
            came = self.screen.edit(text)
            if came is None or came.strip() == text.strip():
                self.screen.say("nothing was changed")
                return False
            try:
                verdict = edited(shown, from_yaml(came))
            except DataError as error:
                self.screen.say(str(error), "red")
                self.screen.say("[E]dit again, any other key: leave the row as it was")
                if self.screen.key().lower() != "e":
                    return False
                text = came
                continue
            if verdict.action == "accept":
                self.screen.say("nothing was changed")
                return False
            return self.verdict(shown, verdict)

    def choices(self, shown: Shown) -> list[Choice]:
        """What the number keys do: a verdict of those who differ, or a label; nine at most."""
        given = [event for event in shown.earlier if event.action in VERDICTS]
        found = [Choice(f"as {harmless(event.reviewer)}", self.side_with(event)) for event in given]
        found += [Choice(label, self.answer_with(label)) for label in self.labels]
        return found[:9]

    def side_with(self, event: Event) -> Callable[[Shown], bool]:
        """Give the verdict that somebody gave."""

        def act(shown: Shown) -> bool:
            action = cast(Action, event.action)  # those in VERDICTS are
            given = Verdict(action, event.reason, value=event.value, after_hash=event.after_hash)
            return self.verdict(shown, given)

        return act

    def answer_with(self, label: str) -> Callable[[Shown], bool]:
        """Give one of the labels as the answer."""

        def act(shown: Shown) -> bool:
            verdict = edited(shown, with_answer(shown.row.example, label), tags=("label",))
            return self.verdict(shown, verdict)

        return act

    def undo(self, shown: Shown) -> bool:
        """The last verdict back, and its row again."""
        before = self.session.undo()
        if before is None:
            self.screen.say("there is nothing to undo")
            return False
        self.session.reviews.release(shown.task)
        self.shown = before
        self.draw(before)
        return False

    def leave(self, shown: Shown) -> bool:
        """Stop here."""
        self.is_left = True
        return False

    def help(self, shown: Shown) -> bool:
        """The keys."""
        choices = self.choices(shown)
        labels = "  ".join(f"[{number}] {choice.name}" for number, choice in enumerate(choices, start=1))
        self.screen.console.print(Text(f"{KEYS}  {labels}".rstrip(), style="bold"))
        return False


# --- the editor ----------------------------------------------------------------------------------------


class Blocks(yaml.SafeDumper):
    """YAML with texts of several lines as blocks."""


def text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """A text; PyYAML quotes it itself where a block cannot hold it."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Blocks.add_representer(str, text_node)


def as_yaml(row: Any) -> str:
    """A row as it is edited: YAML, because a text of several lines can be read in it."""
    text = yaml.dump(row, Dumper=Blocks, allow_unicode=True, sort_keys=False, width=100_000)
    return f"# Change the row, save and close.  Leave it as it is to go back.\n{text}"


def from_yaml(text: str) -> Any:
    """What was edited.  Raises DataError where it is no YAML."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        where = f"line {mark.line + 1}" if mark else None
        what = error.problem if isinstance(error, yaml.MarkedYAMLError) else str(error)
        raise DataError(
            f"this is no valid YAML ({what})", where=where, next_step="mend the line, or quote the text"
        ) from None


def edit_text(text: str) -> str | None:
    """The text after the person's editor; None when the editor failed.

    Raises UserError where there is no editor.
    """
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="tunesmith-edit-") as name:
        path = Path(name) / "row.yaml"
        path.write_text(text, encoding="utf-8")
        try:
            # an editor's own words belong on the screen: standard output is for the result
            done = subprocess.run([*shlex.split(command), str(path)], check=False, stdout=sys.stderr)
        except (OSError, ValueError) as error:
            raise UserError(
                f"the editor cannot be started ({error})", value=command, next_step=MISSING_EDITOR
            ) from None
        if done.returncode != 0:
            what = f"the editor ended with {done.returncode}; nothing was changed"
            raise UserError(what, value=command, next_step=MISSING_EDITOR)
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            what = f"the edited file cannot be read ({error}); nothing was changed"
            raise UserError(what, next_step="save it as UTF-8") from None

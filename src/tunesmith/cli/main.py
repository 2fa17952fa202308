"""Entry point: parse, then import what the verb needs, then run.

`tunesmith --help` touches only click and the table of verbs; a verb's own options are made from its
schema, whose docstrings are the help texts.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from tunesmith import __version__
from tunesmith.cli.verbs import BY_NAME, GROUPS, VERBS, Verb, load
from tunesmith.core.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USER_ERROR,
    StepFailed,
    TunesmithError,
    UserError,
    nearest,
)
from tunesmith.core.files import FULL, UNUSABLE


class VerbGroup(click.Group):
    """Commands looked up in the table of verbs and built only when asked for."""

    def __init__(self, name: str, *, prefix: str = "", **settings: Any) -> None:
        super().__init__(name, **settings)
        self.prefix = prefix

    def summaries(self) -> dict[str, str]:
        """Command word → one line of help, in the table's order."""
        found = {}
        for verb in VERBS:
            if verb.name.startswith(self.prefix):
                word, _, rest = verb.name.removeprefix(self.prefix).partition(" ")
                found[word] = GROUPS[word] if rest else verb.summary
        return found

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Words in the table's order (the order of the journey)."""
        return list(self.summaries())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Build the command of a word, or a group for the words that share it."""
        full = self.prefix + cmd_name
        if full in BY_NAME:
            from tunesmith.cli.options import command_for

            return command_for(BY_NAME[full], run_verb)
        if cmd_name in self.summaries():
            return VerbGroup(cmd_name, prefix=f"{full} ", help=GROUPS[cmd_name])
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but an unknown word names the nearest known one."""
        word = args[0]
        if not word.startswith("-") and word not in self.summaries():
            raise UserError("unknown command", value=word, next_step=nearest(word, self.summaries()))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands from the table alone: building them would import their schemas."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.summaries().items()))


def root() -> VerbGroup:
    """The top of the command line."""
    group = VerbGroup(
        "tunesmith",
        help="Fine-tune a language model: decide, prepare data, train, evaluate, serve, monitor.",
        epilog="Start with: tunesmith quickstart",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    return click.version_option(__version__, prog_name="tunesmith")(group)


def run_verb(verb: Verb, values: dict[str, Any], common: dict[str, Any]) -> None:
    """Resolve the configuration, run the door, show the result or print it as one JSON object."""
    from tunesmith.cli.options import configuration
    from tunesmith.core.job import Job, JudgedResult
    from tunesmith.core.progress import for_terminal
    from tunesmith.core.workspace import AlreadyDone, Manifest, Workspace

    for name in ("config", "out", "workspace"):
        if common.get(name) == "":
            step = "leave the option out, or check the variable that it came from"
            raise UserError("an empty path", where=f"--{name}", next_step=step)
    config = configuration(verb, values, common["config"])
    workspace = Workspace.find(Path(common["workspace"]) if common["workspace"] else None)
    out = Path(common["out"]) if common.get("out") else None
    job = Job(workspace, for_terminal(quiet=common["quiet"]), out)
    try:
        result = load(verb.door)(config, job)
    except AlreadyDone as done:
        job.progress.say(f"already done: {done.folder}")
        kind = load(verb.result)
        result = kind.model_validate(kind.fields_from(Manifest.read(done.folder).summary, done.folder))
    if common["json"]:
        print(json.dumps(result.to_json(), ensure_ascii=False), flush=True)
    else:
        from rich.console import Console

        from tunesmith.cli.printable import printable

        load(verb.show)(result, Console(file=printable(sys.stdout), highlight=False))
    if isinstance(result, JudgedResult) and not result.passed:
        raise click.exceptions.Exit(EXIT_FAILED)


def interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    """Let SIGTERM unwind like Ctrl-C, so that children are stopped and state is saved."""
    raise KeyboardInterrupt


def guarded(action: Callable[[], object]) -> int:
    """Run an action and turn what it raises into one message and an exit code.

    click returns the code of an `Exit` where it is not the one to leave the process.
    """
    try:
        code = action()
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; finished work is kept, and the same command goes on from there", err=True)
        return EXIT_INTERRUPTED
    except TunesmithError as error:
        if not (isinstance(error, StepFailed) and error.said):
            click.echo(f"tunesmith: {error}", err=True)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output went away (`tunesmith … | head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except OSError as error:
        if error.errno not in FULL | UNUSABLE:
            raise
        place = f" ({error.filename})" if error.filename else ""
        what = f"{error.strerror}{place}" if error.strerror else str(error)
        step = "free some space" if error.errno in FULL else "check the path and its permissions"
        click.echo(f"tunesmith: {what}\n  → {step}; finished work is kept", err=True)
        return EXIT_USER_ERROR
    return code if isinstance(code, int) else 0


def main() -> NoReturn:
    """The `tunesmith` command."""
    signal.signal(signal.SIGTERM, interrupt)
    sys.exit(guarded(lambda: root().main(prog_name="tunesmith", standalone_mode=False)))

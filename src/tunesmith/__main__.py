"""`tunesmith` and `python -m tunesmith`."""

from typing import NoReturn

from tunesmith.core.errors import EXIT_INTERRUPTED


def main() -> NoReturn:
    """The `tunesmith` command; Ctrl-C while it is still being imported ends it without a traceback, too."""
    try:
        from tunesmith.cli.main import main as run
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
    run()


if __name__ == "__main__":
    main()

"""What comes from elsewhere is shown and steers nothing."""

import io

from rich.console import Console

from tunesmith.cli.printable import printable


def test_control_characters_are_left_out_and_colours_and_lines_stay():
    stream = io.StringIO()
    console = Console(file=printable(stream), force_terminal=True, width=40, highlight=False)
    console.print("a name\x1b]0;other title\x07 and\x1b[2J more\x9b31m\r\b", markup=False)
    console.print("[red]red[/red]\ttab")
    text = stream.getvalue()
    assert "\x1b[31mred\x1b[0m" in text
    assert "a name]0;other title and[2J more31m\n" in text
    assert "tab" in text
    assert not set("\x07\x08\r\x9b") & set(text)

"""What pages that are passed on share: numbers as people read them, drawings, word diffs, the style sheet."""

from pathlib import Path

LOOK = Path(__file__).with_name("look.css")
"""Colours, letters, tables, drawings: a page's own sheet comes after it."""

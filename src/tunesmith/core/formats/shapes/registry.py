"""Every layout that is read, by name."""

from collections.abc import Mapping

from tunesmith.core.formats.shapes import (
    chat,
    instruct,
    llamafactory,
    plain,
    preference,
    published,
    rated,
    sharegpt,
)
from tunesmith.core.formats.shapes.port import Row, Shape

SHAPES: Mapping[str, Shape] = {
    shape.name: shape
    for family in (chat, sharegpt, instruct, plain, preference, rated, llamafactory, published)
    for shape in family.SHAPES
}


def fitting(row: Row) -> list[Shape]:
    """Layouts that fit a row and are not outdone: none, one, or several that explain other keys each."""
    keys = {shape.name: frozenset(shape.fits(row)) for shape in SHAPES.values()}
    return [
        shape
        for shape in SHAPES.values()
        if keys[shape.name] and not any(keys[shape.name] < other for other in keys.values())
    ]

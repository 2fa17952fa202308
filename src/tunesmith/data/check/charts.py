"""The drawings of the page: histograms, balance in rows and tokens, the map of the rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from tunesmith.core.page import numbers
from tunesmith.core.page.drawing import Scale, flipped, nice_step, scale_around, svg

NUM_COLOURS = 8
"""Colours of the map; the last one is for all other groups."""


def histogram(value: Mapping[str, Any], title: str) -> Markup:
    """Bars between edges, the limit as a line; hovering over a bar says its numbers."""
    edges, counts = value["edges"], value["counts"]
    limit = value.get("limit")
    high = max(edges[-1], edges[0] + 1e-9)
    x = Scale(edges[0], high, ticks_within(edges[0], high))
    y = scale_around(0, max([*counts, 1]), parts=4)
    parts = [*horizontal_grid(y)]
    bar = Markup('<rect class="bin{}" x="{}" width="{}" y="{}" height="{}"><title>{}</title></rect>')
    for at, count in enumerate(counts):
        left, right = edges[at], edges[at + 1]
        width = 100 * (right - left) / (high - edges[0])
        share = 100 * count / y.high
        words = f"{numbers.plain(left)} to {numbers.plain(right)}: {numbers.count(count)}"
        late = " over" if limit is not None and left >= limit else ""
        parts.append(
            bar.format(
                late,
                x.place(left),
                f"{max(0.05, width - 0.25):.2f}%",
                f"{100 - share:.2f}%",
                f"{share:.2f}%",
                words,
            )
        )
    if limit is not None and edges[0] <= limit <= high:
        line = Markup('<line class="limit" x1="{}" x2="{}" y1="0" y2="100%"><title>limit {}</title></line>')
        parts.append(line.format(x.place(limit), x.place(limit), numbers.plain(limit)))
    label = Markup('<text x="{}" y="100%" dy="18" text-anchor="middle">{}</text>')
    parts += [label.format(x.place(tick), numbers.plain(tick)) for tick in x.ticks]
    often = numbers.plain(edges[counts.index(max(counts))])
    return svg("histogram", f"{title}: {numbers.count(sum(counts))} rows, most often around {often}", parts)


def ticks_within(low: float, high: float) -> tuple[float, ...]:
    """Round ticks between two ends."""
    step = nice_step(max(high - low, 1e-6), parts=6)
    first = int(low // step)
    found = (round((first + number) * step, 10) for number in range(9))
    return tuple(tick for tick in found if low <= tick <= high)


def horizontal_grid(y: Scale) -> list[Markup]:
    """Lines with counts at their left."""
    line = Markup('<line class="grid" x1="0" x2="100%" y1="{}" y2="{}"/>')
    label = Markup('<text x="-8" y="{}" dy=".35em" text-anchor="end">{}</text>')
    places = [(flipped(tick, y), tick) for tick in y.ticks]
    lines = [line.format(place, place) for place, _ in places]
    return lines + [label.format(place, numbers.count(tick)) for place, tick in places if tick == int(tick)]


@dataclass(frozen=True)
class Layer:
    """One way of colouring the map."""

    name: str
    groups: Sequence[tuple[str, int]]
    """Name of each colour and its rows, in the order of the colours."""


@dataclass(frozen=True)
class Point:
    """A row on the map."""

    x: float
    y: float
    colours: Sequence[int]
    """Its colour in each layer."""
    title: str


@dataclass(frozen=True)
class Map:
    """Rows as points: those near each other mean much the same."""

    points: Sequence[Point]
    layers: Sequence[Layer]
    num_rows: int
    """Rows they were drawn from."""


def scatter(value: Map) -> Markup:
    """The map; each point has a class for its colour in every layer, and the page switches between them."""
    dot = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>')
    radius = "3.4" if len(value.points) < 800 else "2.4"
    drawn = [
        dot.format(
            " ".join(f"l{layer}c{colour}" for layer, colour in enumerate(point.colours)),
            20 + 960 * point.x,
            20 + 600 * point.y,
            radius,
            point.title,
        )
        for point in value.points
    ]
    alt = f"Map of {numbers.count(len(value.points))} rows by what they mean"
    return Markup(
        '<svg class="map" role="img" aria-label="{}" viewBox="0 0 1000 640"><title>{}</title>{}</svg>'
    ).format(alt, alt, Markup("").join(drawn))


FOUND = ("nothing", "near-duplicate", "exact duplicate", "doubted label")
"""What the map tells apart, in the order of its colours."""
LAYERS = ("finding", "label", "topic", "split")


def map_of(fact: Mapping[str, Any]) -> Map | None:
    """The map that the check of this name measured; None when it has no points."""
    points = fact.get("points") or []
    if not points:
        return None
    layers, colours = [], []
    for name in LAYERS:
        values = [str(point.get(name) or ("nothing" if name == "finding" else "")) for point in points]
        if len(set(values)) > 1 or name == "finding":
            layer, numbers_of = coloured(name if name != "label" else fact.get("label") or name, values, name)
            layers.append(layer)
            colours.append(numbers_of)
    columns = stretched([point["x"] for point in points]), stretched([-point["y"] for point in points])
    return Map(
        [
            Point(x, y, [column[at] for column in colours], title_of(points[at]))
            for at, (x, y) in enumerate(zip(*columns, strict=True))
        ],
        layers,
        fact["of"],
    )


def stretched(values: Sequence[float]) -> list[float]:
    """Values between 0 and 1 that fill the drawing: the axes mean nothing, so each may be stretched."""
    low, high = min(values), max(values)
    return [(value - low) / (high - low) if high > low else 0.5 for value in values]


def coloured(title: str, values: Sequence[str], name: str) -> tuple[Layer, list[int]]:
    """A colour for each of the most frequent values; all others share the last."""
    counted = Counter(values).most_common()
    own = [value for value, _ in counted[: NUM_COLOURS - 1 if len(counted) > NUM_COLOURS else NUM_COLOURS]]
    if name == "finding":
        own = list(FOUND)
    index = {value: number for number, value in enumerate(own)}
    places = [index.get(value, len(own)) for value in values]
    amounts = Counter(places)
    groups = [(value or "(none)", amounts[number]) for number, value in enumerate(own)]
    if amounts[len(own)]:
        groups.append((f"{len(counted) - len(own)} others", amounts[len(own)]))
    return Layer(title, groups), places


def title_of(point: Mapping[str, Any]) -> str:
    """What hovering over a point says: where the row stands, never its text."""
    row = point["row"]
    return ", ".join(
        part for part in (f"{row['split']} line {row['line']}".strip(), str(point.get("label") or "")) if part
    )

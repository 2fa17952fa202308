"""Numbers as people read them: rounded to what they mean, with narrow non-breaking spaces."""

from typing import Any

THIN = "\N{NARROW NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
NOT_MEASURED = "\N{EM DASH}"


def count(value: float) -> str:
    """1513 → '1 513' with narrow spaces: read the same in every country."""
    return f"{value:,.0f}".replace(",", THIN)


def percent(share: float | None) -> str:
    """.474 → '47 %'; shares that would round to 0 or 100 but are not keep a decimal."""
    if share is None:
        return NOT_MEASURED
    return f"{bare_percent(share)}{THIN}%"


def bare_percent(share: float) -> str:
    """The number of `percent`, without the sign."""
    points = 100 * share
    hidden = round(points) in (0, 100) and points not in (0, 100)
    return f"{points:.1f}" if hidden else f"{points:.0f}"


def percent_range(low: float | None, high: float | None) -> str:
    """(.376, .571) → '38–57 %'."""
    if low is None or high is None:
        return "no interval"
    return f"{bare_percent(low)}{DASH}{bare_percent(high)}{THIN}%"


def points(difference: float) -> str:
    """.474 → '+47', −.02 → '−2', a difference below one point keeps a decimal."""
    value = 100 * difference
    text = f"{abs(value):.1f}" if 0.05 <= abs(value) < 0.95 else f"{abs(value):.0f}"
    sign = "" if text == "0" else "+" if value > 0 else MINUS
    return f"{sign}{text}"


def figure(value: float | None, kind: str) -> str:
    """A score as its kind has it: a share in per cent, any other number with three digits."""
    if kind != "number" or value is None:
        return percent(value)
    return f"{value:.3g}".replace("-", MINUS)


def figure_range(low: float | None, high: float | None, kind: str) -> str:
    """The interval of a score, in the same way."""
    if kind != "number" or low is None or high is None:
        return percent_range(low, high)
    return f"{figure(low, kind)} to {figure(high, kind)}"


def gap(difference: float, kind: str) -> str:
    """A difference of shares in points, of other numbers with three digits and a sign."""
    if kind != "number":
        return points(difference)
    return f"{difference:+.3g}".replace("-", MINUS)


def p_value(value: float) -> str:
    """Two digits, or '< 0.0001'."""
    return f"<{THIN}0.0001" if value < 0.0001 else f"{value:.4f}" if value < 0.01 else f"{value:.2f}"


def seconds(value: float | None) -> str:
    """'4.2 ms', '0.42 s', '45 s', '3 min 05 s', '1 h 12 min'."""
    if value is None:
        return NOT_MEASURED
    if 0 < value < 0.1:
        return f"{1000 * value:.2g}{THIN}ms"
    if value < 10:
        return f"{value:.2f}".rstrip("0").rstrip(".") + f"{THIN}s" if value else f"0{THIN}s"
    whole = round(value)
    if whole < 60:
        return f"{whole}{THIN}s"
    if whole < 3600:
        return f"{whole // 60}{THIN}min {whole % 60:02d}{THIN}s"
    return f"{whole // 3600}{THIN}h {whole % 3600 // 60:02d}{THIN}min"


def size(num_bytes: float | None) -> str:
    """Decimal units: '1.9 GB', '640 MB', '12 kB'."""
    if num_bytes is None:
        return NOT_MEASURED
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= scale:
            value = num_bytes / scale
            return f"{value:.1f}{THIN}{unit}" if value < 10 else f"{value:.0f}{THIN}{unit}"
    return f"{num_bytes:.0f}{THIN}bytes"


def large(value: float) -> str:
    """4 884 480 → '4.9 million': a count whose size matters, not its digits."""
    for word, scale in (("billion", 1e9), ("million", 1e6)):
        if value >= scale:
            return f"{value / scale:.3g}{THIN}{word}"
    return count(value)


def setting(name: str, value: Any) -> str:
    """A setting with its unit when its name ends in one."""
    return size(value) if name.endswith("_bytes") and isinstance(value, int | float) else plain(value)


def plain(value: Any) -> str:
    """A setting as its file would show it: numbers short, yes and no, lists joined, None as a dash."""
    if value is None:
        return NOT_MEASURED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(plain(part) for part in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(part)}" for name, part in value.items())
    return str(value)

"""Numbers as the page shows them: three digits and a unit."""


def format_quantity(value: float, unit: str) -> str:
    """A number for people, with decimal prefixes: `3.42 MB`, `2.90 M`, `0.34 ms`."""
    if unit not in ("bytes", "parameters", "MACs", ""):
        return f"{three_digits(value)} {unit}"
    letter = "B" if unit == "bytes" else ""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{three_digits(value / factor)} {prefix}{letter}"
    return f"{value:.0f} B" if letter else three_digits(value)


def three_digits(value: float) -> str:
    """Three significant digits, zeros at the end kept: `11.0`, `0.520`, `210`."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".") if abs(value) >= 1e-4 else f"{value:.3g}"

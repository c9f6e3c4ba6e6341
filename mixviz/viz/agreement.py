"""Which patches are top in which picture, drawn as SVG: colours, hatches and letters."""

from collections.abc import Sequence

from mixviz.viz.draw import HALF, A, B

LETTERED = 8  # patches per side; in more there is no room for letters
_LETTERS = ("", "B", "A", "AB")
_DARK = "#14110e"


def _cell(case: int, x: float, y: float, side: float, lettered: bool) -> str:
    """Draw one patch; the case is 2·(top of A) + (top of B)."""
    here = f'x="{x:.2f}" y="{y:.2f}" width="{side:.2f}" height="{side:.2f}"'
    fill = (f"rgb{HALF}", f"rgb{B}", f"rgb{A}", f"rgb{B}")[case]
    parts = [f'<rect {here} fill="{fill}"/>']
    corner = f"M{x:.2f} {y:.2f}h{side:.2f}l{-side:.2f} {side:.2f}z"
    if case in (1, 3):
        parts.append(f'<rect {here} fill="url(#dots)"/>')
    if case == 3:
        parts += [f'<path d="{corner}" fill="{fill_}"/>' for fill_ in (f"rgb{A}", "url(#strokes)")]
    if case == 2:
        parts.append(f'<rect {here} fill="url(#strokes)"/>')
    if lettered and case:
        size = min(20.0, side * (0.44 if case == 3 else 0.55))
        places = {1: [("B", 0.5)], 2: [("A", 0.5)], 3: [("A", 0.28), ("B", 0.72)]}[case]
        parts += [
            f'<text x="{x + at * side:.2f}" y="{y + at * side:.2f}" dy=".36em" '
            f'font-size="{size:.1f}" fill="{"#fff" if letter == "A" else _DARK}">{letter}</text>'
            for letter, at in places
        ]
    parts.append(f'<rect {here} fill="none" stroke="#fff" stroke-width="{min(1.5, side / 12)}"/>')
    return "".join(parts)


def agreement_svg(cases: Sequence[Sequence[int]], side: int) -> str:
    """Draw the case of every patch: B's in orange with dots, A's in blue with strokes.

    Args:
        cases: square; 0 is top in neither, 1 in B, 2 in A, 3 in both.
        side: of the drawing, in pixels.
    """
    cell = side / len(cases)
    drawn = "".join(
        _cell(case, column * cell, row * cell, cell, len(cases) <= LETTERED)
        for row, line in enumerate(cases)
        for column, case in enumerate(line)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" width="{side}" '
        f'height="{side}" font-family="Source Sans, sans-serif" font-weight="600" '
        'text-anchor="middle"><defs>'
        '<pattern id="strokes" width="7" height="7" patternUnits="userSpaceOnUse">'
        '<path d="M-1 8L8 -1M-1 1L1 -1M6 8L8 6" stroke="#fff" stroke-opacity=".35"/></pattern>'
        '<pattern id="dots" width="7" height="7" patternUnits="userSpaceOnUse">'
        f'<circle cx="3.5" cy="3.5" r="1.1" fill="{_DARK}" fill-opacity=".4"/></pattern></defs>'
        f"{drawn}</svg>"
    )


def letters(cases: Sequence[Sequence[int]]) -> str:
    """Say the same in letters, row by row, for who cannot see the drawing."""
    return "; ".join(" ".join(_LETTERS[case] or "–" for case in line) for line in cases)

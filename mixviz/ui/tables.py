"""Tables for people and screen readers; where they do not fit they scroll, and the names stay."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape

STYLE = """
.mv-claims {overflow-x: auto}
.mv-claims table {border-collapse: collapse; font-size: 14px; line-height: 20px; width: 100%}
.mv-claims td, .mv-claims th {text-align: left; vertical-align: top; padding: 6px 14px 6px 0;
  border-bottom: 1px solid rgba(128, 128, 128, .35); font-weight: 400}
.mv-claims thead th {font-weight: 600; vertical-align: bottom}
.mv-claims tbody th[scope=row] {white-space: nowrap; position: sticky; left: 0; background: PAGE}
.mv-claims tbody th small {display: block; white-space: normal; min-width: 11rem; font-size: 14px;
  opacity: .75}
.mv-claims td {font-variant-numeric: tabular-nums; white-space: nowrap}
.mv-claims .mv-best {font-weight: 600}
.mv-claims .mv-part th {padding-top: 16px; white-space: normal}
.mv-claims .mv-part span {position: sticky; left: 0; display: inline-block; max-width: 80vw}
@media (max-width: 640px) {.mv-claims tbody th[scope=row] {white-space: normal; min-width: 8rem}
  .mv-claims tbody th small {min-width: 8rem}}
"""


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        title: its name.
        cells: after the name.
        words: below the name, smaller.
        best: columns, counted from the first cell, that stand out.
    """

    title: str
    cells: Sequence[str]
    words: str = ""
    best: Collection[int] = ()


@dataclass(frozen=True)
class Part:
    """Rows that belong together, under a heading of their own unless it is empty."""

    heading: str
    words: str
    rows: Sequence[Row]


def write_table(heads: Sequence[str], parts: Sequence[Part], name: str) -> str:
    """Return a table as HTML.

    Args:
        heads: of the columns, the names' first.
        parts: the rows.
        name: of the table, for tests.
    """
    head = "".join(f'<th scope="col">{escape(one)}</th>' for one in heads)
    bodies = "".join(_write_part(part, len(heads)) for part in parts)
    return (
        f'<div class="mv-claims" tabindex="0" data-table="{name}"><table>'
        f"<thead><tr>{head}</tr></thead>{bodies}</table></div>"
    )


def _write_part(part: Part, columns: int) -> str:
    heading = ""
    if part.heading:
        heading = (
            f'<tr class="mv-part"><th scope="rowgroup" colspan="{columns}"><span>'
            f"<b>{escape(part.heading)}</b> {escape(part.words)}</span></th></tr>"
        )
    return f"<tbody>{heading}{''.join(_write_row(row) for row in part.rows)}</tbody>"


def _write_row(row: Row) -> str:
    words = f"<small>{escape(row.words)}</small>" if row.words else ""
    cells = "".join(
        f"<td{' class=mv-best' if column in row.best else ''}>{escape(cell)}</td>"
        for column, cell in enumerate(row.cells)
    )
    return f'<tr><th scope="row">{escape(row.title)}{words}</th>{cells}</tr>'

"""What the terminal shows, as HTML: the same tables for notebooks and reports.

A table is a `<table>` with its headers, a text a paragraph; whatever stands in them is escaped, so
that no name in a file can become markup.
"""

from collections.abc import Iterator
from html import escape
from importlib import import_module
from typing import Any

# Who draws what. By name, as the facade finds its homes: the tables are the command line's, and
# what is drawn stands below it.
TABLES = {
    "Result": "gcsim.cli.run_text.run_table",
    "Comparison": "gcsim.cli.compare.comparison_table",
    "Series": "gcsim.cli.compare.series_table",
    "Sweep": "gcsim.cli.sweep_text.sweep_table",
    "Plan": "gcsim.cli.plan_text.plan_table",
    "PlanOverLoad": "gcsim.cli.plan_load_text.plan_load_table",
}
WIDE = 10_000  # characters: nothing is left out for want of room


class Shown:
    """What shows itself in a notebook as it does in a terminal."""

    def _repr_html_(self) -> str:
        """The tables of the command line, for Jupyter."""
        return html(table_of(self))


def table_of(found: Shown) -> Any:
    """What the command line draws of a result, for rich."""
    module, _, name = TABLES[type(found).__name__].rpartition(".")
    return getattr(import_module(module), name)(found)


def html(drawn: Any) -> str:
    """Anything that rich draws, as HTML.

    >>> print(html("a < b"))
    <p>a &lt; b</p>
    """
    return "\n".join(_parts(drawn))


def words(text: object) -> str:
    """Escaped, with its line breaks.

    >>> words("<b>1\\n2")
    '&lt;b&gt;1<br>2'
    """
    return escape(str(text)).replace("\n", "<br>")


def _parts(drawn: Any) -> Iterator[str]:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if isinstance(drawn, Table):
        yield _table(drawn)
    elif isinstance(drawn, str | Text):
        text = str(drawn).strip("\n")
        bold = isinstance(drawn, Text) and drawn.style == "bold"
        if text.strip():
            yield f"<p><strong>{words(text)}</strong></p>" if bold else f"<p>{words(text)}</p>"
    else:  # made of others: a group, or what fits the width
        console = Console(width=WIDE)
        for part in drawn.__rich_console__(console, console.options):
            yield from _parts(part)


def _table(table: Any) -> str:
    columns = table.columns
    ends = [' style="text-align:right"' * (column.justify == "right") for column in columns]
    lines = ["<table>"]
    if table.title:
        lines.append(f"<caption>{words(table.title)}</caption>")
    heads = (
        f'<th scope="col"{end}>{words(column.header)}</th>' if str(column.header) else "<td></td>"
        for column, end in zip(columns, ends, strict=True)
    )
    lines += [f"<thead><tr>{''.join(heads)}</tr></thead>", "<tbody>"]
    for row in zip(*(column.cells for column in columns), strict=True):
        cells = [f"<td{end}>{words(cell)}</td>" for cell, end in zip(row, ends, strict=True)]
        if str(row[0]):
            cells[0] = f'<th scope="row"{ends[0]}>{words(row[0])}</th>'
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</tbody>", "</table>"])

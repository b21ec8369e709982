"""Tables that fold where the terminal is narrow: no key and no digit is lost."""

from copy import copy
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.table import Column, Table

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

GAP = 2  # between columns, and both edges together
WORDS_LEAST = 12  # characters of a name on a line: the rest is folded below


class FoldingTable(Table):
    """A table that goes on below with its keys where its columns do not fit side by side.

    Bars and names give way first; then columns are dealt to tables one below the other, each with
    the keys: the first `keys` columns.
    """

    keys: int = 1

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        """One table, or several."""
        heads, rest = self.columns[: self.keys], self.columns[self.keys :]
        kept = sum(_least(column) + GAP for column in heads)
        parts: list[list[Column]] = [[]]
        used = kept
        for column in rest:
            need = _least(column) + GAP
            if used + need > options.max_width and parts[-1]:
                parts.append([])
                used = kept
            parts[-1].append(column)
            used += need
        if len(parts) == 1:
            yield from super().__rich_console__(console, options)
            return
        for number, part in enumerate(parts):
            yield from self._of([*heads, *part], number).__rich_console__(console, options)

    def _of(self, columns: list[Column], number: int) -> Table:
        """A table of some of the columns; only the first has the title."""
        part = Table(box=self.box, pad_edge=False, header_style="bold", collapse_padding=True)
        if number == 0:
            part.title, part.title_justify, part.title_style = self.title, "left", "bold"
        part.rows = self.rows
        part.columns = [copy(column) for column in columns]
        for index, column in enumerate(part.columns):
            column._index = index
        return part


def _least(column: Column) -> int:
    """The width at which nothing of a column is lost."""
    texts = [str(text) for text in (column.header, *column._cells)]
    lines = [cell_len(line) for text in texts for line in text.split("\n")]
    longest = max(lines, default=0)
    if column.no_wrap:
        return longest
    if column.overflow == "crop":  # a bar: shorter, but its header stays
        return max(map(cell_len, str(column.header).split("\n")))
    return max(column.min_width or 0, min(longest, WORDS_LEAST))

"""The one style of all pictures: series told apart by colour, marker and dash; legend, title, file.

A *panel* is drawn on axes and returns them; a *picture* is a figure of panels, with a title, and a
legend outside the data.
"""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gcsim.errors import ProfileError
from gcsim.profiles.template import check_folder
from gcsim.traffic.traces.atomic import beside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of Okabe and Ito's colours, which colour-blind readers tell apart, those with a contrast of 3 on
# white; together with markers and dashes they make 40 series.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
DASHES: tuple[Any, ...] = ("-", "--", (0, (4, 1, 1, 1)), (0, (1, 1)), (0, (6, 2)))
SERIES_MOST = len(COLOURS) * len(MARKERS)

# Parts of a time: a colour and, for print in grey, a hatch.
PARTS = {
    "network": ("#8C8C8C", ""),
    "queue": ("#D55E00", "////"),
    "prefill": ("#E69F00", "...."),
    "kv_transfer": ("#CC79A7", "xxxx"),
    "decode": ("#0072B2", ""),
    "tools": ("#DDDDDD", ""),
    "cached": ("#CCCCCC", ""),
    "fresh": ("#9A6A00", "||||"),
    "slow": ("#D55E00", "////"),
    "fast": ("#0072B2", ""),
}
BOUND: dict[str, Any] = {"color": "#444444", "ls": (0, (2, 2)), "lw": 1.0, "zorder": 1.5}
GRID: dict[str, Any] = {"visible": True, "color": "#E6E6E6", "lw": 0.8}
NAME_MOST = 48  # characters of a name in a legend
SUFFIXES = (".svg", ".png", ".pdf")


@dataclass(frozen=True, slots=True)
class Style:
    """How a series looks."""

    colour: str
    marker: str
    dash: Any

    @property
    def line(self) -> dict[str, Any]:
        """For `Axes.plot`: a line with markers."""
        return {"color": self.colour, "marker": self.marker, "ls": self.dash, "lw": 1.4, "ms": 5}


def style(number: int) -> Style:
    """The style of the series of this number: different for the first 40.

    >>> len({style(number) for number in range(SERIES_MOST)}) == SERIES_MOST
    True
    """
    return Style(
        COLOURS[number % len(COLOURS)],
        MARKERS[number % len(MARKERS)],
        DASHES[(number // len(COLOURS) + number) % len(DASHES)],
    )


def part(name: str) -> dict[str, Any]:
    """For `Axes.bar`: a part of a time."""
    colour, hatch = PARTS[name]
    return {"color": colour, "hatch": hatch, "edgecolor": "#FFFFFF", "linewidth": 0.4}


def new_axes(
    rows: int, columns: int, size: tuple[float, float], **options: Any
) -> "tuple[Figure, Any]":
    """A figure in the house's style and its axes, one or an array of them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained", dpi=120)
    axes = figure.subplots(rows, columns, **options)
    for axis in np.ravel(axes):
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_axisbelow(True)
    return figure, axes


def finished(figure: "Figure", title: str, handles: Iterable[Any] = ()) -> "Figure":
    """A picture with its title and one legend below the data, of every series once.

    handles: of what no axes have; names that are too long lose their middle.
    """
    width = figure.get_figwidth()
    lines = textwrap.wrap(title, int(width * 11))
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize="large")
    shown: dict[str, Any] = {}
    for axis in figure.axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    shown |= {handle.get_label(): handle for handle in handles}
    if shown:
        _legend(figure, list(shown.values()), short(list(shown)))
    return figure


def short(names: Sequence[str], most: int = NAME_MOST) -> list[str]:
    """Names that fit a legend, still different from each other.

    >>> short(["a-very-long-name", "b"], 9)
    ['a-ve…name', 'b']
    """
    found: list[str] = []
    for name in names:
        head = tail = (most - 1) // 2
        cut = name if len(name) <= most else f"{name[:head]}…{name[-tail:]}"
        found.append(name if cut in found else cut)
    return found


def _legend(figure: "Figure", handles: list[Any], names: list[str]) -> None:
    """As many columns as fit the width of the figure."""
    letters = 12 * figure.get_figwidth()  # that fit, at the size of the legend
    columns = max(int(letters / (max(map(len, names)) + 7)), 1)
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=min(columns, len(names)),
        frameon=False,
        fontsize="small",
    )


def slo_line(axis: "Axes", bound: float, text: str, upright: bool = False) -> None:
    """A bound of the SLO across the axes, named at its end, outside of the data."""
    if upright:
        axis.axvline(bound, **BOUND)
        at, where, ends = (bound, 1.0), axis.get_xaxis_transform(), ("center", "bottom")
    else:
        axis.axhline(bound, **BOUND)
        at, where, ends = (1.01, bound), axis.get_yaxis_transform(), ("left", "center")
    name = axis.text(*at, text, transform=where, ha=ends[0], va=ends[1], fontsize="small")
    name.set_color(BOUND["color"])


def plain_log(axis: Any) -> None:
    """A logarithmic x- or y-axis with plain numbers, as few as have room."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = axis.get_view_interval()
    decades = np.log10(high / low) if low > 0 else 1.0
    dense = 1.5 if axis.axis_name == "x" else 2.5  # numbers are wider than high
    subs = (1.0, 2.0, 5.0) if decades < dense else (1.0, 3.0) if decades < 2.5 else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(lambda value, _: f"{value:,.12g}")
    axis.set_minor_formatter(NullFormatter())


def thousands(value: float, _: object) -> str:
    """A tick with commas.

    >>> thousands(12000.0, None)
    '12,000'
    """
    return f"{value:,.12g}"


def check_picture(path: Path, option: str = "--out") -> None:
    """Errors: `ProfileError` for a file that no picture can go to; asked before anything runs."""
    if path.suffix not in SUFFIXES:
        hint = f"one that ends in {', '.join(SUFFIXES)}"
        raise ProfileError.one("plot", option, str(path), "is no file of a picture", hint)
    check_folder(path, "plot", option)


@contextmanager
def plain_names() -> Iterator[None]:
    """What is drawn within takes names as they are: a `$` in them begins no formula."""
    import matplotlib as mpl

    with mpl.rc_context({"text.parse_math": False}):
        yield


def write_picture(figure: "Figure", path: Path, option: str = "--out") -> None:
    """A picture as a file, whole or not at all, the same bytes each time.

    Errors: `ProfileError`, for one that cannot be written too.
    """
    import matplotlib as mpl

    check_picture(path, option)
    plain: dict[str, Any] = {"metadata": {"Date": None}} if path.suffix == ".svg" else {}
    if path.suffix == ".pdf":
        plain = {"metadata": {"CreationDate": None}}
    target = path.absolute()
    try:
        with plain_names(), mpl.rc_context({"svg.hashsalt": "gcsim"}), beside(target) as folder:
            part = folder / target.name
            figure.savefig(part, **plain)
            part.replace(target)
    except OSError as error:
        why = f"cannot be written: {error.strerror or error}"
        raise ProfileError.one(str(path), option, None, why, "name another file") from error

"""What holds for every picture: `assert_tidy`."""

from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox


def assert_tidy(figure: Figure) -> None:
    """It has a title and axes with units; nothing is cut off; no legend or text lies on data; no
    two series, and no two entries of a legend, look alike.
    """
    figure.draw_without_rendering()
    assert figure.get_suptitle()
    _nothing_is_cut_off(figure)
    _legends_lie_outside(figure)
    entries = [entry for legend in figure.legends for entry in _entries(legend)]
    _all_differ(entries)
    for axis in figure.axes:
        _all_differ(_series(axis))
        _labelled(axis)
        for ticks in (axis.xaxis, axis.yaxis):
            labels = [tick.label1 for tick, drawn in _ticks(ticks) if drawn]
            _apart([label for label in labels if label.get_text() and label.get_visible()])


def _extent(artist: Any) -> Bbox:
    return artist.get_window_extent()


def _nothing_is_cut_off(figure: Figure) -> None:
    page = figure.bbox.padded(1)
    beyond = {label for axis in figure.axes for label in _beyond(axis)}
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and text not in beyond:
            box = _extent(text)
            corners = [(box.x0, box.y0), (box.x1, box.y1)]
            assert all(page.contains(*corner) for corner in corners), text.get_text()
    for axis in figure.axes:  # what is named lies within its axes
        box = axis.get_window_extent()
        for text in axis.texts:
            if text.get_transform() == axis.transData:
                inner = _extent(text)
                ends = [(inner.x0, inner.y0), (inner.x1, inner.y1)]
                assert all(box.padded(2).contains(*end) for end in ends), text.get_text()


def _ticks(axis: Any) -> list[tuple[Any, bool]]:
    """The ticks of an x- or y-axis, and whether each lies between its ends: others are not drawn.

    What they say is that of the last drawing.
    """
    low, high = sorted(axis.get_view_interval())
    every = [*axis.majorTicks, *axis.minorTicks]
    room = 1e-9 * (high - low)
    return [(tick, low - room <= tick.get_loc() <= high + room) for tick in every]


def _beyond(axis: Axes) -> list[Text]:
    ticks = [*_ticks(axis.xaxis), *_ticks(axis.yaxis)]
    return [label for tick, drawn in ticks if not drawn for label in (tick.label1, tick.label2)]


def _legends_lie_outside(figure: Figure) -> None:
    own = [axis.get_legend() for axis in figure.axes]
    for legend in (*own, *figure.legends):
        if legend is None:
            continue
        box = _extent(legend)
        assert box.x0 >= -1
        assert box.x1 <= figure.bbox.x1 + 1, "the legend is cut off"
        for axis in figure.axes:
            drawn = axis.get_tightbbox()
            assert drawn is None or not box.overlaps(drawn.padded(-1)), "a legend lies on the data"
    for axis in figure.axes:  # what stands beside the axes stands on no data of the next
        for text in axis.texts:
            if text.get_transform() != axis.transData:
                for other in figure.axes:
                    assert not _extent(text).overlaps(other.patch.get_window_extent().padded(-2))


def _labelled(axis: Axes) -> None:
    shared = (
        axis.get_shared_x_axes().get_siblings(axis),
        axis.get_shared_y_axes().get_siblings(axis),
    )
    for ticks, others in zip((axis.xaxis, axis.yaxis), shared, strict=True):
        labels = [getattr(other, f"{ticks.axis_name}axis").get_label_text() for other in others]
        each = [getattr(other, f"{ticks.axis_name}axis").get_ticklabels() for other in others]
        names = [label.get_text() for some in each for label in some]
        words = any(letter.isalpha() for name in names for letter in name)
        assert any("[" in label or label.startswith("fraction") for label in labels) or words, (
            labels
        )


def _apart(labels: list[Text]) -> None:
    for one, two in combinations(labels, 2):
        box, other = _extent(one), _extent(two)
        assert not box.padded(-1).overlaps(other.padded(-1)), (one.get_text(), two.get_text())


def _entries(legend: Any) -> list[Any]:
    return [_look(handle) for handle in legend.legend_handles]


def _series(axis: Axes) -> list[Any]:
    """The look of every series that has a name: in a container, as a line, as bars."""
    handles, _ = axis.get_legend_handles_labels()
    return [_look(handle) for handle in handles]


def _look(handle: Any) -> Any:
    if hasattr(handle, "patches"):  # bars
        handle = handle.patches[0]
    elif hasattr(handle, "lines") and not hasattr(handle, "get_linestyle"):  # with error bars
        handle = handle.lines[0]
    elif isinstance(handle, tuple):
        handle = handle[0]
    if hasattr(handle, "get_marker"):
        line = str(handle.get_linestyle()), str(getattr(handle, "_dash_pattern", ""))
        return "line", handle.get_color(), handle.get_marker(), line, handle.get_markerfacecolor()
    if hasattr(handle, "get_segments"):  # an error bar in a legend
        return "bar", tuple(map(float, np.ravel(handle.get_color())))
    if hasattr(handle, "get_hatch"):
        return "area", tuple(map(float, handle.get_facecolor())), handle.get_hatch()
    return type(handle).__name__, str(handle.get_color())


def _all_differ(looks: list[Any]) -> None:
    assert len(set(looks)) == len(looks), looks

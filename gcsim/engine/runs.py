"""Tokens as runs: `(content id, first token, end)`, the labels of the prefix cache."""

from gcsim.traffic.trajectory import Span

Run = tuple[int, int, int]


def extend(
    runs: list[Run], spans: list[Span], index: int, offset: int, tokens: int
) -> tuple[int, int]:
    """Add the next `tokens` tokens of a sequence at the end; the index and offset after them.

    >>> runs = [(7, 0, 1)]
    >>> extend(runs, [(7, 4), (8, 3)], 0, 1, 5), runs
    ((1, 2), [(7, 0, 4), (8, 0, 2)])
    """
    content, size = spans[index]
    if runs and runs[-1][0] == content and runs[-1][2] == offset:
        _, begin, _ = runs.pop()  # the first run goes on
    else:
        begin = offset
    end = offset + tokens
    while end > size:
        runs.append((content, begin, size))
        index, begin, end = index + 1, 0, end - size
        content, size = spans[index]
    runs.append((content, begin, end))
    return (index, end) if end < size else (index + 1, 0)


def append(runs: list[Run], more: list[Run]) -> None:
    """Add runs at the end; two that continue each other become one.

    >>> runs = [(7, 0, 4)]
    >>> append(runs, [(7, 4, 6), (8, 0, 1)])
    >>> runs
    [(7, 0, 6), (8, 0, 1)]
    """
    if runs and more and runs[-1][0] == more[0][0] and runs[-1][2] == more[0][1]:
        runs[-1] = (runs[-1][0], runs[-1][1], more[0][2])
        more = more[1:]
    runs.extend(more)


def cut(runs: list[Run], tokens: int) -> tuple[list[Run], list[Run]]:
    """The first `tokens` tokens, and the rest (there is one).

    >>> cut([(7, 0, 4), (8, 0, 3)], 5)
    ([(7, 0, 4), (8, 0, 1)], [(8, 1, 3)])
    """
    for index, (content, start, end) in enumerate(runs):
        if tokens < end - start:
            middle = start + tokens
            upper, lower = runs[:index], runs[index + 1 :]
            if tokens:
                upper = [*upper, (content, start, middle)]
            return upper, [(content, middle, end), *lower]
        tokens -= end - start
    raise AssertionError("a cut lies inside the label")

"""Tokens as runs: `(content id, first token, end)`, the labels of the prefix cache."""

from gcsim.traffic.trajectory import Span

Run = tuple[int, int, int]


def take(spans: list[Span], index: int, offset: int, tokens: int) -> tuple[list[Run], int, int]:
    """The next `tokens` tokens of a sequence as runs, and the index and offset after them.

    >>> take([(7, 4), (8, 3)], 0, 1, 5)
    ([(7, 1, 4), (8, 0, 2)], 1, 2)
    """
    runs: list[Run] = []
    left = tokens
    while left:
        content, size = spans[index]
        take = min(size - offset, left)
        if take:
            runs.append((content, offset, offset + take))
        left -= take
        offset += take
        if offset == size:
            index, offset = index + 1, 0
    return runs, index, offset


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

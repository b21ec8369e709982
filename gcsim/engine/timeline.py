"""Queue, batch and KV use of a replica over time, in bounded memory."""

from itertools import pairwise

MOST_SAMPLES = 2048
Means = tuple[int, float, float, float]  # from [ns] until the next; waiting, running, KV blocks


class Timeline:
    """Integrals over time of waiting and running requests and KV blocks used.

    samples: (time, the three integrals up to it); thinned evenly when they get too many, which
    leaves the means between those that stay exact.
    """

    def __init__(self) -> None:
        self.samples: list[tuple[int, int, int, int]] = []
        self.peak_waiting = 0
        self._step_ns = 1
        self._next_ns = 0
        self._area = self._last_ns = self._waiting = 0
        self._running = self._used = self._running_area = self._used_area = self._sampled_ns = 0

    def queue(self, now: int, waiting: int) -> None:
        """The waiting line may have changed."""
        if waiting == self._waiting:
            return
        self._area += self._waiting * (now - self._last_ns)
        self._last_ns, self._waiting = now, waiting
        self.peak_waiting = max(self.peak_waiting, waiting)

    def sample(self, now: int, waiting: int, running: int, used: int) -> None:
        """Note the state at an iteration boundary at which the batch has changed."""
        if waiting != self._waiting:
            self.queue(now, waiting)
        since = now - self._sampled_ns
        self._running_area += self._running * since
        self._used_area += self._used * since
        self._running, self._used, self._sampled_ns = running, used, now
        if now < self._next_ns:
            return
        self.samples.append((now, self._area, self._running_area, self._used_area))
        if len(self.samples) >= MOST_SAMPLES:
            self._step_ns = max(2 * self._step_ns, 2 * now // MOST_SAMPLES)
            self.samples = self.samples[::2]
        self._next_ns = now + self._step_ns

    def means(self, end_ns: int) -> list[Means]:
        """What waited, ran and was used on average from each sample to the next, up to `end_ns`.

        >>> timeline = Timeline()
        >>> timeline.sample(0, 2, 1, 5)
        >>> timeline.sample(10, 0, 3, 9)
        >>> timeline.means(20)
        [(0, 2.0, 1.0, 5.0), (10, 0.0, 3.0, 9.0)]
        """
        last = (
            end_ns,
            self._area + self._waiting * (end_ns - self._last_ns),
            self._running_area + self._running * (end_ns - self._sampled_ns),
            self._used_area + self._used * (end_ns - self._sampled_ns),
        )
        points = [*(self.samples or [(0, 0, 0, 0)]), last]
        return [
            (a[0], (b[1] - a[1]) / span, (b[2] - a[2]) / span, (b[3] - a[3]) / span)
            for a, b in pairwise(points)
            if (span := b[0] - a[0])
        ]

    def mean_running(self, end_ns: int) -> float:
        """Mean number of running requests up to `end_ns`, over time.

        >>> timeline = Timeline()
        >>> timeline.sample(0, 0, 1, 5)
        >>> timeline.sample(10, 0, 3, 9)
        >>> timeline.mean_running(20)
        2.0
        """
        area = self._running_area + self._running * (end_ns - self._sampled_ns)
        return area / end_ns if end_ns else 0.0

    def mean_waiting(self, end_ns: int) -> float:
        """Mean length of the waiting line up to `end_ns`, over time.

        >>> timeline = Timeline()
        >>> timeline.queue(0, 2)
        >>> timeline.queue(10, 0)
        >>> timeline.mean_waiting(20)
        1.0
        """
        area = self._area + self._waiting * (end_ns - self._last_ns)
        return area / end_ns if end_ns else 0.0

"""Queue, batch and KV use of a replica over time, in bounded memory."""

MOST_SAMPLES = 2048


class Timeline:
    """Samples (time, waiting, running, KV blocks used), thinned evenly when they get too many."""

    __slots__ = ("_area", "_last_ns", "_next_ns", "_step_ns", "_waiting", "peak_waiting", "samples")

    def __init__(self) -> None:
        self.samples: list[tuple[int, int, int, int]] = []
        self.peak_waiting = 0
        self._step_ns = 1
        self._next_ns = 0
        self._area = self._last_ns = self._waiting = 0

    def queue(self, now: int, waiting: int) -> None:
        """The waiting line has changed."""
        self._area += self._waiting * (now - self._last_ns)
        self._last_ns, self._waiting = now, waiting
        self.peak_waiting = max(self.peak_waiting, waiting)

    def sample(self, now: int, waiting: int, running: int, used: int) -> None:
        """Note the state at an iteration boundary at which the batch has changed."""
        if now < self._next_ns:
            return
        self.samples.append((now, waiting, running, used))
        if len(self.samples) >= MOST_SAMPLES:
            self._step_ns = max(2 * self._step_ns, 2 * now // MOST_SAMPLES)
            self.samples = self.samples[::2]
        self._next_ns = now + self._step_ns

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

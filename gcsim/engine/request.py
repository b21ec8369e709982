"""One LLM call inside the engine, and the context of the branch of a trajectory that makes it."""

from collections.abc import Hashable
from typing import Any

from gcsim.traffic.trajectory import Span

# How a request can end; each ends in exactly one of these.
COMPLETED, REJECTED, UNFINISHED = "completed", "rejected", "unfinished"


class Context:
    """The tokens of one branch of a trajectory so far, as spans, and where caches hold them.

    hints: the last match of this context in each group, from which the next look-up goes on.
    """

    __slots__ = ("hints", "spans", "tokens")

    def __init__(self, spans: list[Span], tokens: int, hints: dict[Hashable, Any]) -> None:
        self.spans, self.tokens, self.hints = spans, tokens, hints

    def extend(self, spans: tuple[Span, ...]) -> None:
        """Add spans at the end."""
        for span in spans:
            if span[1]:
                self.spans.append(span)
                self.tokens += span[1]

    def truncate(self, tokens: int) -> None:
        """Keep the first `tokens` tokens (all, where there are fewer)."""
        while self.tokens > tokens:
            content, size = self.spans.pop()
            self.tokens -= size
            self.hints.clear()
            self.extend(((content, min(size, max(tokens - self.tokens, 0))),))

    def fork(self) -> "Context":
        """An independent copy, for a branch."""
        return Context(self.spans.copy(), self.tokens, self.hints.copy())


class Request:
    """One call: what is asked, where it is, and when what happened to it [ns].

    The phases queue, prefill, kv_transfer and decode follow each other without gaps (a preempted
    request goes back to queue): `end_...` ends one, and with the network they sum to E2E exactly.
    """

    __slots__ = (
        "context",
        "decode_ns",
        "end_clock",
        "epoch",
        "estimate",
        "first_token_ns",
        "generated",
        "group",
        "handoff",
        "hit",
        "hit_own",
        "in_ns",
        "index",
        "isl",
        "join_clock",
        "kv_transfer_ns",
        "last_token_ns",
        "lease",
        "osl",
        "owner",
        "past",
        "phase_ns",
        "preemptions",
        "prefill_ns",
        "priority",
        "prompt_tokens",
        "queue_ns",
        "reason",
        "replica",
        "sent_ns",
        "service",
        "session",
        "status",
        "step",
        "todo",
    )

    def __init__(
        self, index: int, session: Any, step: int, context: Context, *, osl: int, sent_ns: int
    ) -> None:
        self.index, self.session, self.step, self.context = index, session, step, context
        self.owner: int = session.trajectory.index
        self.priority: int = session.trajectory.priority
        self.isl, self.osl = context.tokens, osl
        self.sent_ns, self.in_ns = sent_ns, 0  # in: the way to the router, tokenizing included
        self.first_token_ns = self.last_token_ns = -1
        self.phase_ns = 0
        self.queue_ns = self.prefill_ns = self.kv_transfer_ns = self.decode_ns = 0
        self.status, self.reason = UNFINISHED, ""
        self.replica = self.group = -1
        self.preemptions = 0
        self.hit = self.hit_own = 0  # prompt tokens found cached at first admission
        self.estimate = self.isl  # prompt tokens to compute, as the router saw it
        # While it runs: `prompt_tokens` to have in KV before the next token (more than isl after a
        # preemption), of which `past` are there and `todo` are to be computed.
        self.prompt_tokens = self.isl
        self.past = self.todo = self.generated = 0
        self.lease: Any = None
        self.service: Any = None
        self.handoff: Any = None
        self.end_clock = self.join_clock = self.epoch = 0

    def end_queue(self, now: int) -> None:
        """The time since the last phase ended was waiting."""
        self.queue_ns += now - self.phase_ns
        self.phase_ns = now

    def end_prefill(self, now: int) -> None:
        """The time since the last phase ended was prefill."""
        self.prefill_ns += now - self.phase_ns
        self.phase_ns = now

    def end_transfer(self, now: int) -> None:
        """The time since the last phase ended was KV transfer."""
        self.kv_transfer_ns += now - self.phase_ns
        self.phase_ns = now

    def end_decode(self, now: int) -> None:
        """The time since the last phase ended was decode."""
        self.decode_ns += now - self.phase_ns
        self.phase_ns = now

    def set_output(self, tokens: int) -> None:
        """Let the context end with the first `tokens` tokens that this request generated."""
        content, context = -1 - self.index, self.context
        spans = context.spans
        if spans and spans[-1][0] == content:
            context.tokens -= spans.pop()[1]
            context.hints.clear()  # they may point into the span that was replaced
        if tokens:
            spans.append((content, tokens))
            context.tokens += tokens

"""Public traces hold what was published of them: counts, lengths, burstiness and reuse.

Values: recounts of the released files, rounded as they were written down (Mooncake FAST'25, Azure
2023, Vidur's arXiv lengths, Weka's Claude Code sessions). Hits: the longest prefix of a prompt seen
before under an infinite cache; of Weka inside the session only.
"""

from typing import Any

import numpy as np
import pytest
import toys

from gcsim.profiles.arrivals import Closed, TraceArrivals
from gcsim.profiles.workload import Trace, Workload
from gcsim.traffic.generate import trajectories
from gcsim.traffic.traces.describe import Reuse, describe

MOONCAKE = "mooncake_conversation_trace.jsonl.gz"
WEKA = "weka_claude_code_sessions.jsonl.gz"
# name: requests, span [s]; input mean, p50, p90, p99; output the same, as they were written down.
PUBLISHED: dict[str, tuple[int, float | None, str, str]] = {
    MOONCAKE: (12_031, 3_537, "12.0k 6.9k 27.4k 85k", "343 350 597 1119"),
    "mooncake_synthetic_trace.jsonl.gz": (
        3_993,
        1_022,
        "15.3k 11.6k 38.6k 66k",
        "149 69 389 768",
    ),
    "azure2023_code.csv.gz": (8_819, 3_436, "2048 1469 5188 7436", "28 13 55 252"),
    "azure2023_conv.csv.gz": (19_366, 3_502, "1155 1020 2735 4142", "211 129 424 601"),
    "arxiv_summarization_lengths.csv.gz": (
        28_257,
        None,
        "2588 2730 3702 3933",
        "291 167 372 3271",
    ),
    WEKA: (45_542, None, "119k 101k 211k 508k", "439 217 894 3678"),
}


def summary(name: str) -> dict[str, Any]:
    return describe(toys.public_trace(name)).summary()


def rounded(published: str) -> Any:
    """A published number with the room that its rounding leaves.

    A percentile between two requests is written down as either.
    """
    if not published.endswith("k"):
        return pytest.approx(int(published), abs=1)
    digits = len(published[:-1].partition(".")[2])
    return pytest.approx(float(published[:-1]) * 1000, abs=500 / 10**digits)


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_and_lengths_are_the_published_ones(name: str) -> None:
    found = summary(name)
    requests, span_s, isl, osl = PUBLISHED[name]
    assert found["requests"] == requests
    assert found["span_s"] == (None if span_s is None else pytest.approx(span_s, abs=0.5))
    assert [*found["isl"].values()] == [rounded(text) for text in isl.split()]
    assert [*found["osl"].values()] == [rounded(text) for text in osl.split()]


@pytest.mark.parametrize(
    ("name", "cv"),
    [
        (MOONCAKE, 3.0),
        ("mooncake_synthetic_trace.jsonl.gz", 1.01),
        ("azure2023_code.csv.gz", 13.2),
        ("azure2023_conv.csv.gz", 1.09),
    ],
)
def test_burstiness_is_the_published_one(name: str, cv: float) -> None:
    digits = 2 if cv < 2 else 1
    assert summary(name)["arrival_cv"] == pytest.approx(cv, abs=0.5 * 10**-digits + 1e-9)


@pytest.mark.parametrize(
    ("name", "key", "hit"),
    [
        (MOONCAKE, "token_hit", 0.374),
        (MOONCAKE, "block_hit", 0.366),
        ("mooncake_synthetic_trace.jsonl.gz", "token_hit", 0.651),
        (WEKA, "token_hit", 0.963),
    ],
)
def test_reuse_is_the_published_one(name: str, key: str, hit: float) -> None:
    assert round(summary(name)[key], 3) == hit


def test_formats_without_hashes_claim_no_reuse() -> None:
    for name in ("azure2023_code.csv.gz", "tracelab_example_round_trace.jsonl.gz"):
        found = summary(name)
        assert found["token_hit"] is found["block_hit"] is None


def played(name: str) -> Workload:
    return Workload(name="played", trace=Trace(path=str(toys.public_trace(name))))


def test_the_played_mooncake_trace_has_the_reuse_and_the_times_of_its_rows() -> None:
    reuse, tokens, hits, last_s = Reuse(), 0, 0, 0.0
    replay = TraceArrivals(process="trace", rate_scale=2)
    for trajectory in trajectories(played(MOONCAKE), replay, np.random.SeedSequence(1)):
        ((isl, hit),) = reuse.steps(trajectory.steps)
        tokens, hits = tokens + isl, hits + hit
        assert trajectory.start_s is not None
        last_s = trajectory.start_s
    assert round(hits / tokens, 3) == 0.374
    assert last_s == 3536.999 / 2


def test_the_played_weka_sessions_have_their_lengths_delays_and_reuse() -> None:
    sessions, lengths, hits, tools, humans = 0, [], [], [], []
    closed = Closed(process="closed", agents=4)
    for trajectory in trajectories(played(WEKA), closed, np.random.SeedSequence(1)):
        sessions += 1
        found = Reuse().steps(trajectory.steps)
        lengths += [isl for isl, _ in found]
        hits += [hit for _, hit in found]
        tools += [s.delay_s for s in trajectory.steps if s.waits_for and not s.human]
        humans += [s.delay_s for s in trajectory.steps if s.human]
    assert (sessions, len(lengths)) == (692, 46_218)  # sub-agents included
    rows = describe(toys.public_trace(WEKA))
    own = sum(lengths) - sum(rows.isl)
    assert own / 676 == pytest.approx(45_000, rel=0.1)  # what is left is of the sub-agents
    # Outputs are cached too, 0.4% of the tokens: more than the prompts alone, 0.963, not by much.
    assert 0.963 < sum(hits) / sum(lengths) < 0.970
    # max(0, think_time - api_time): p50 1.3 s, p75 8.3 s; people p10/50/75 14/118/378 s
    assert np.percentile(tools, (50, 75)) == pytest.approx((1.3, 8.3), rel=0.05)
    assert np.percentile(humans, (10, 50, 75)) == pytest.approx((14, 118, 378), rel=0.15)

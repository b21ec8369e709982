"""Parts: gcsim.engine.clock, gcsim.engine.line, gcsim.engine.decode_set, gcsim.engine.run,
gcsim.engine.meter, gcsim.engine.timeline, gcsim.engine.handoff,
gcsim.engine.kv_cache, gcsim.engine.prefix_cache."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st

from gcsim.engine.clock import Call, Clock, to_ns
from gcsim.engine.decode_set import DecodeSet
from gcsim.engine.handoff import LinkUse
from gcsim.engine.kv_cache import KvCache
from gcsim.engine.meter import Meter, Stalls
from gcsim.engine.prefix_cache import PrefixCache
from gcsim.engine.request import Context, Request
from gcsim.engine.run import Run
from gcsim.engine.timeline import MOST_SAMPLES, Timeline
from gcsim.machine.roofline import batch, gap_bin, windowed
from gcsim.profiles.deployment import Link


def request(index: int, isl: int, osl: int = 10) -> Request:
    session = SimpleNamespace(trajectory=SimpleNamespace(index=index, priority=0))
    return Request(index, session, 0, Context([(index, isl)], isl, {}), osl=osl, sent_ns=0)


def test_simultaneous_calls_come_by_rank_then_in_the_order_of_their_making() -> None:
    clock, log = Clock(), []
    for name, rank in (("replica 1", 2), ("replica 0", 1), ("arrival a", 0), ("arrival b", 0)):
        Call(clock, 5, lambda call: log.append(call.argument), name, rank)
    Call(clock, 5, log.append).cancel()
    clock.run()
    assert log == ["arrival a", "arrival b", "replica 0", "replica 1"]
    assert clock.now == 5
    assert isinstance(clock.now, int)


def test_whole_nanoseconds() -> None:
    assert to_ns(0.1 + 0.2) == 300_000_000


sequences = st.lists(
    st.tuples(st.integers(1, 60), st.integers(2, 40), st.integers(0, 30)), min_size=1, max_size=8
)


@given(
    sequences,
    st.sampled_from([1, 3, 16]),
    st.sampled_from([0, 25, -1, -7]),
    st.sampled_from([10**6, 1_700_000]),
)
def test_a_decode_set_is_the_sum_of_its_sequences(
    joins: list[tuple[int, int, int]], block: int, window: int, ppm: int
) -> None:
    """Against a list of sequences that are moved one by one."""
    decode = DecodeSet(block, window, ppm)
    live: dict[Request, int] = {}
    for number, (isl, osl, iterations) in enumerate(joins):
        new = request(number, isl, osl)
        new.generated = 1
        decode.join(new)
        live[new] = isl
        for _ in range(iterations):
            if not live:
                break
            assert decode.seqs == len(live)
            assert decode.kv == sum(kv + 1 for kv in live.values())
            if window:
                seen = [windowed(float(kv), float(window)) + 1 for kv in live.values()]
                assert decode.window_kv == sum(min(kv, abs(window)) for kv in seen)
            gained = decode.gain(1)
            blocks = {r: -(-(kv + gained) // block) - -(-kv // block) for r, kv in live.items()}
            assert decode.blocks(gained) == sum(blocks.values())
            steady = decode.steady_iterations()
            assert steady >= 1
            _, _, ended = decode.advance(1)
            live = {r: kv + gained for r, kv in live.items()}
            due = [r for r, kv in live.items() if kv - r.isl >= r.osl - 1]
            assert sorted(r.index for r in ended) == sorted(r.index for r in due)
            assert bool(ended) <= (steady == 1)
            for r in ended:
                assert decode.remove(r) == -(-live[r] // block) - -(-r.isl // block)
                del live[r]


def test_iterations_within_a_budget_of_blocks() -> None:
    decode = DecodeSet(16, 0, 10**6)
    for k, isl in enumerate((15, 16, 30)):
        new = request(k, isl, 1000)
        new.generated = 1
        decode.join(new)
    for blocks in range(1, 12):
        best = decode.iterations_within(100, blocks)
        assert best == 1 or decode.blocks(best) <= blocks
        assert best == 100 or decode.blocks(best + 1) > blocks


def played(groups: int, start: int, iterations: int = 1) -> Run:
    """Iterations of a microsecond on a replica of so many groups."""
    what = toys.deployment({"main": {}})
    run = Run(replace(toys.constant_cost(1e-6, what)["main"], groups=groups))
    run.start_ns, run.iterations = start, iterations
    return run


def count(meter: Meter, stalls: Stalls, iterations: int, start: int, end: int, **sums: int) -> None:
    """Count iterations on a replica of one group."""
    run = played(1, start, iterations)
    run.rows[0][:] = batch(**sums)
    meter.count(run, end, [stalls])


def test_a_stalled_sequence_has_one_long_gap() -> None:
    meter, stalls = Meter(0), Stalls()
    stalls.all_wait(1, 100)
    count(meter, stalls, 1, 5000, 6000, decode_seqs=1)
    assert meter.gaps.sum() == meter.gaps[gap_bin(5900)] == 1
    count(meter, stalls, 2, 6000, 8000, decode_seqs=1)
    assert meter.gaps[gap_bin(1000)] == 2
    assert meter.busy_ns == 3000


def test_decode_that_goes_on_in_one_group_ends_no_wait_in_another() -> None:
    meter, stalls = Meter(0), [Stalls(), Stalls()]
    stalls[0].all_wait(2, 100)
    stalls[1].all_wait(3, 300)
    run = played(2, 5000)
    run.rows[0][:], run.rows[1][:] = batch(prompt_tokens=5), batch(decode_seqs=3)
    meter.count(run, 6000, stalls)
    assert stalls == [[(2, 100)], []]
    assert meter.gaps.sum() == meter.gaps[gap_bin(5700)] == 3


def test_what_starts_in_the_warm_up_does_not_count() -> None:
    meter = Meter(1000)
    for start in (0, 999, 1000):
        count(meter, Stalls(), 1, start, start + 1, prompt_tokens=5)
    assert meter.totals[9] == 1


def test_a_timeline_stays_small_and_covers_the_whole_run() -> None:
    timeline = Timeline()
    for k in range(100_000):
        timeline.sample(k * 10, k % 7, 1, 2)
    times = [sample[0] for sample in timeline.samples]
    assert len(times) <= MOST_SAMPLES
    assert times == sorted(times)
    assert times[0] == 0
    assert times[-1] > 900_000


@pytest.mark.parametrize(
    ("moved", "line_share"), [(20e6, 0.18), (146e6, 0.48), (1.1e9, 0.64), (4.5e9, 0.71)]
)
def test_the_link_ramp_follows_the_published_sizes(moved: float, line_share: float) -> None:
    """vLLM with Mooncake over about 200 GB/s: the share of the line that each size reached."""
    link = Link.model_validate(
        {"from": "a", "to": "b", "bandwidth": "50 GB/s", "lanes": 4, "efficiency": 0.71,
         "setup": "0.2 ms", "ramp": "32 MB"}
    )  # fmt: skip
    use = LinkUse(link)
    seconds = (use.occupancy_ns(moved) + use.delay_ns) * 1e-9
    assert moved / seconds / 200e9 == pytest.approx(line_share, rel=0.25)


def test_a_transfer_takes_the_lanes_of_both_its_ends() -> None:
    """100 MB over 2 lanes of 50 MB/s x 0.5 take 2 s, and 3 s more to set up and to arrive."""

    def carried(*ends: tuple[int, int], **when: int) -> list[float]:
        times = {"setup": "1 s", "latency": "2 s", "bandwidth": "50 MB/s", "efficiency": 0.5}
        use = LinkUse(Link(**{"from": "p", "to": "d", "lanes": 2, **times}))
        how = {"earliest_ns": 0, "computed_ns": 0, "layers": 4, **when}
        return [use.carry(*end, 100e6, **how) * 1e-9 for end in ends]

    assert carried((0, 5)) == [5.0]
    assert carried((0, 5), (1, 6)) == [5.0, 5.0]
    assert carried((0, 5), (1, 5)) == [5.0, 7.0], "the receiver's lanes are taken"
    assert carried((0, 5), (0, 6)) == [5.0, 7.0], "the sender's are"
    assert carried((0, 5), (5, 0)) == [5.0, 5.0], "each way has lanes of its own"
    assert carried((0, 5), earliest_ns=10**9) == [6.0]
    assert carried((0, 5), computed_ns=10 * 10**9) == [13.5], "the last of four layers comes last"


def test_kv_blocks_are_conserved_and_shared() -> None:
    kv = KvCache(0, 100, 16, 0)
    first = request(1, 160)
    lease = kv.admit(first, 0)
    assert lease is not None
    assert (kv.private, kv.free, lease.cached) == (10, 90, 0)
    kv.store(first, lease, 160)
    assert (kv.private, kv.tree.blocks[0], kv.free) == (0, 10, 90)
    twin = request(2, 160)
    twin.context.spans[0] = first.context.spans[0]
    other = kv.admit(twin, 0)
    assert other is not None
    assert other.cached == 144, "the last prompt token is always computed, so its block is too"
    assert kv.used == 11
    kv.release(lease)
    kv.release(other)
    assert kv.room == 100
    kv.check()


def test_what_fits_is_what_an_empty_cache_admits() -> None:
    """10 blocks of 16 tokens, 3 of them for the windows of each sequence: 112 tokens fit."""
    for tokens in (1, 111, 112, 113, 160):
        kv = KvCache(0, 10, 16, 3)
        assert kv.fits(tokens) == (kv.admit(request(0, tokens), 0) is not None) == (tokens <= 112)


def test_admission_that_fails_changes_nothing() -> None:
    kv = KvCache(0, 10, 16, 0)
    first = request(1, 100)
    lease = kv.admit(first, 0)
    assert lease is not None
    kv.store(first, lease, 100)
    before = (kv.private, kv.tree.pinned_blocks, kv.used)
    assert kv.admit(request(2, 100), 0) is None
    assert kv.admit(request(3, 40), 3) is None
    assert (kv.private, kv.tree.pinned_blocks, kv.used) == before


def test_shared_prefixes_cost_their_blocks_once() -> None:
    cache = PrefixCache(16)
    for k in range(50):
        spans = [(1, 1600), (100 + k, 16)]
        cache.insert(spans, 1616, k, cache.match(spans, k))
    assert cache.blocks[0] == 100 + 50

"""What a collective takes on the links of a chip: fixed time and time per byte, once per run.

Chips of a replica reach each other near (a switch, the links of one mesh, a ring) or far (the
switch between meshes), and beyond the scale-up domain out, through the network card of each.

    mesh of K chips, n of them:  n - 1 of K - 1 links each, so B_near = B (n - 1)/(K - 1)    (1)
    switch, ring:                B_near = B

B: bandwidth per chip and direction, as the profile has it, x `efficiency.link`.
"""

from math import log2
from typing import TYPE_CHECKING, NamedTuple

from gcsim.machine import roofline
from gcsim.machine.layers import layers_of
from gcsim.profiles.chip import Chip, Stack
from gcsim.profiles.deployment import Pool
from gcsim.profiles.model import Model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ACTIVATION_BYTES = 2.0  # activations are 16 bit


class Way(NamedTuple):
    """One algorithm for a collective in which every chip has m bytes: fixed_s + s_per_byte m."""

    fixed_s: float
    s_per_byte: float


class Reach(NamedTuple):
    """How each of n chips inside the scale-up domain reaches the others.

    near_chips: those that `near` leads to, itself included; near, far: bytes per second of a chip
    to them, and to the rest; hop_s: latency of one step; ring: bytes travel from chip to chip.
    """

    chips: int
    near_chips: int
    near: float
    far: float
    hop_s: float
    ring: bool


def reach(chip: Chip, chips: int) -> Reach:
    """The links that `chips` of a kind have to each other: equation (1)."""
    up, efficiency = chip.interconnect.scale_up, float(chip.efficiency.link.value)
    whole, near_chips = float(up.bandwidth.value) * efficiency, chips
    if up.topology == "mesh":
        mesh = up.mesh_chips or up.max_chips
        near_chips = min(chips, mesh)
        whole *= max(near_chips - 1, 1) / max(mesh - 1, 1)
    far = float(up.switch_bandwidth.value) * efficiency if up.switch_bandwidth else 0.0
    return Reach(chips, near_chips, whole, far, float(up.latency.value), up.topology == "torus")


def all_reduce(links: Reach, start_s: float) -> tuple[Way, Way]:
    """The two ways to add up m bytes of every chip over n: the faster one is taken [s, s/B].

    one-shot, each sends all to all:  a + (n - 1) m / B                                    (2)
    reduce-scatter + all-gather:      a + p + 2 (n - 1)/n m / B                            (3)

    a: start_s; p: two hops where chips exchange directly, 2 (n - 1) in a ring, whose one-shot
    passes n - 1 hops on. With n = g k chips in g meshes of k, (2) sends (k - 1) m near and
    (n - k) m far at once, (3) adds 2 (g - 1)/g m/k far, and two hops.
    Ref: Thakur et al., IJHPCA 19(1), 2005; one-shot is what serving stacks use for small messages.

    >>> all_reduce(Reach(8, 8, 1e9, 0.0, 1e-6, False), 0.0)[1].s_per_byte == 2 * 7 / 8 / 1e9
    True
    """
    n, k = links.chips, links.near_chips
    if n <= 1:
        return Way(0.0, 0.0), Way(0.0, 0.0)
    passed_on, steps = ((n - 1) * links.hop_s, 2 * (n - 1)) if links.ring else (0.0, 2)
    one_shot, two_step = (k - 1) / links.near, 2 * (k - 1) / k / links.near
    if n > k:
        groups = n / k
        one_shot = max(one_shot, (n - k) / links.far)
        two_step += 2 * (groups - 1) / groups / k / links.far
        steps += 2
    return Way(start_s + passed_on, one_shot), Way(start_s + steps * links.hop_s, two_step)


def all_to_all(links: Reach, start_s: float) -> Way:
    """Every chip sends m bytes, evenly to all n, itself included [s, s/B].

    a + max((k - 1)/n m / B_near, (n - k)/n m / B_far)                                     (4)

    k of them are near, all but where meshes meet. In a ring a byte takes n^2 / (4 (n - 1)) hops on
    average, both ways used, and loads a link in each.

    >>> all_to_all(Reach(8, 8, 1e9, 0.0, 1e-6, False), 1e-5)
    Way(fixed_s=1e-05, s_per_byte=8.75e-10)
    """
    n, k = links.chips, links.near_chips
    if n <= 1:
        return Way(0.0, 0.0)
    hops = max(n * n / (4 * (n - 1)), 1.0) if links.ring else 1.0
    far = (n - k) / n / links.far if n > k else 0.0
    return Way(start_s, max((k - 1) / n / links.near * hops, far))


def handovers(chip: Chip, width: int, tp: int, stages: int) -> Way:
    """All hand-overs of m bytes from stage to stage of a pipeline, one after another [s, s/B].

    Each: l + m / (tp B) + (tp - 1)/tp m / B_near                                          (5)

    Each of the tp chips of a group sends its part to its peer, and they gather. l, B: latency and
    bandwidth of what lies between the stages of `width` chips: one link of a mesh, the switch
    between meshes, or the network card where the next stage is outside of the scale-up domain.
    """
    up, out = chip.interconnect.scale_up, chip.interconnect.scale_out
    mesh = (up.mesh_chips or up.max_chips) if up.topology == "mesh" else up.max_chips
    inside = reach(chip, tp)
    gather = (tp - 1) / tp / inside.near if tp > 1 else 0.0
    fixed = per_byte = 0.0
    for stage in range(1, stages):
        if width > up.max_chips or stage % (up.max_chips // width) == 0:
            fixed += float(out.latency.value) if out.latency else 0.0
            bytes_per_s = out_bytes_per_s(chip)
        else:
            fixed += float(up.latency.value)
            far = width > mesh or stage % (mesh // width) == 0
            bytes_per_s = inside.far if far and inside.far else reach(chip, 2).near
        per_byte += 1 / (tp * bytes_per_s) + gather
    return Way(fixed, per_byte)


def out_bytes_per_s(chip: Chip) -> float:
    """What a chip's network card reaches, per direction [B/s]."""
    out = chip.interconnect.scale_out
    return float(out.bandwidth.value) * (float(out.efficiency.value) if out.efficiency else 1.0)


def dispatch(chip: Chip, ranks: int, per_token: int, start_s: float) -> Way:
    """Tokens of m bytes, spread over the ranks, to their experts, or back [s, s/B of a token].

    Every token goes to min(k, ranks) ranks. Beyond one scale-up domain it goes hierarchically:
    once to each of min(k, N) of the N domains, through the card of its chip, and from there to its
    ranks; both at once, so that the slower of the two counts:

    a + l + max(min(k, N) (N - 1)/N m / (ranks B_out), all-to-all (4) within a domain)     (6)

    Ref: DeepEP (github.com/deepseek-ai/DeepEP), kernels that forward from RDMA to NVLink.
    """
    out = chip.interconnect.scale_out
    inside = min(ranks, chip.interconnect.scale_up.max_chips)
    domains = ranks / inside
    near = all_to_all(reach(chip, inside), start_s)
    near = near._replace(s_per_byte=near.s_per_byte * min(per_token, ranks) / ranks)
    if domains <= 1:
        return near
    crossing = min(per_token, domains) * (domains - 1) / domains / ranks / out_bytes_per_s(chip)
    one_way = float(out.latency.value) if out.latency else 0.0
    return Way(start_s + one_way, max(near.s_per_byte, crossing))


def write(table: "NDArray[np.float64]", model: Model, pool: Pool, stack: Stack) -> None:
    """Write the collectives of an iteration into the table of a machine, per token of a group.

    An all-reduce over tp after each mixer and each FFN; with ep, MoE layers dispatch and combine
    instead of one. The start of a collective over n chips takes a + b log2(n / 2), both of the
    serving stack.
    """
    layers, wide = layers_of(model), pool.tp * pool.ep

    def start_s(chips: int) -> float:
        doublings = log2(max(chips, 2) / 2)
        first = float(stack.all_reduce_latency.value)
        return first + float(stack.all_reduce_latency_per_doubling.value) * doublings

    token = ACTIVATION_BYTES * model.hidden
    dispatches = layers.moe if pool.ep > 1 else 0

    def collective(row: int, times: float, token_bytes: float, *ways: Way) -> None:
        table[row, roofline.COUNT] = times
        for first, way in zip((roofline.ONE_S, roofline.OTHER_S), ways * 2, strict=False):
            table[row, first] = way.fixed_s
            table[row, first + 1] = way.s_per_byte * token_bytes

    reduces = all_reduce(reach(pool.chip, pool.tp), start_s(pool.tp))
    collective(roofline.ALL_REDUCE, float(layers.reduced - dispatches), token, *reduces)
    if dispatches:
        way = dispatch(pool.chip, wide, layers.experts_per_token, start_s(wide))
        # As if every group had the tokens of the fullest one.
        collective(roofline.DISPATCH, 2.0 * dispatches, token * pool.ep, way)
    between = handovers(pool.chip, wide, pool.tp, pool.pp)
    collective(roofline.HANDOVER, 1.0, token, between)
    hidden = float(stack.comm_overlap.value) if stack.comm_overlap is not None else 0.0
    table[roofline.TERMS, roofline.EXPOSED] = 1.0 - hidden

"""The roofline of a deployment's chips, and where prefill and decode of its model lie under it."""

from typing import TYPE_CHECKING, Any

import numpy as np

from gcsim.machine.machine import Machine
from gcsim.machine.roofline import GAP_BINS, TOTALS, account_groups, batch, causal_pairs, join
from gcsim.machine.roofline import window_pairs as pairs_in_window
from gcsim.plots.style import GRID, finished, new_axes, plain_log, style
from gcsim.profiles.deployment import Pool
from gcsim.profiles.resolve import Resolved
from gcsim.results.result import Result
from gcsim.simulate import bind_pools

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PROMPTS = (512, 2048, 8192)  # tokens of a lone prompt
SEQS = (1, 4, 16, 64, 256)  # that decode together
CONTEXT = 8192  # tokens that each of them has
NAMED = {"prefill": "prefill of so many tokens", "decode": "decode of so many sequences"}
CEILING: dict[str, Any] = {"color": "#444444", "lw": 1.2}


def roofline(found: Result | Resolved, context: int = CONTEXT) -> "Figure":
    """The data sheet of each pool's chip as a roofline, and iterations of the model under it.

    found: a run, or a scenario that `gcsim.load` has read; nothing is played.
    """
    resolved = found.resolved if isinstance(found, Result) else found
    pools = list(resolved.scenario.deployment.pools)
    figure, axes = new_axes(1, len(pools), (7.5 if len(pools) == 1 else 11, 5), squeeze=False)
    for axis, pool in zip(axes.flat, pools, strict=True):
        roofline_of(resolved, axis, pool, context)
    model, where = resolved.scenario.model.name, resolved.scenario.deployment.name
    return finished(figure, f"Roofline of {where} with {model}, contexts of {context:,} tokens")


def roofline_of(
    found: Result | Resolved, axis: "Axes", pool: str = "", context: int = CONTEXT
) -> "Axes":
    """FLOP/s of a chip against FLOPs per byte: the lesser of peak and intensity x bandwidth.

    Lines: the data sheet. Points: what the model of the run would reach in one iteration, prompts
    of `PROMPTS` tokens alone and `SEQS` sequences that decode at `context` tokens each. What lies
    below the line is lost to efficiencies, links and fixed times.
    Ref: Williams et al., CACM 52(4), 2009.
    """
    resolved = found.resolved if isinstance(found, Result) else found
    name = pool or next(iter(resolved.scenario.deployment.pools))
    spec, machine = resolved.scenario.deployment.pools[name], bind_pools(resolved.scenario)[name]
    points = points_of(machine, spec, context)
    chips = spec.chips_per_replica
    peak, rate = machine.peak_flops_per_s / chips, machine.peak_bytes_per_s / chips
    every = [x for _, _, x, _ in points] + [peak / rate]
    ends = np.array([min(every) / 3, peak / rate, max(every) * 3])
    axis.plot(ends, np.minimum(peak, ends * rate) / 1e12, **CEILING, label="data sheet of the chip")
    for number, phase in enumerate(("prefill", "decode")):
        mine = [(label, x, y) for kind, label, x, y in points if kind == phase]
        if mine:
            look = style(number).line | {"label": NAMED[phase]}
            axis.plot([x for _, x, _ in mine], [y / 1e12 for *_, y in mine], **look)
        for label, x, y in mine:
            axis.annotate(
                label, (x, y / 1e12), (0, -12), textcoords="offset points", ha="center", fontsize=8
            )
    lowest = min(y for *_, y in points) / 1e12
    axis.set_ylim(lowest / 3, peak / 1e12 * 2)  # room for what the points are
    plain_log(axis.xaxis)
    plain_log(axis.yaxis)
    axis.set_xlabel("arithmetic intensity [FLOP/byte]")
    axis.set_ylabel("arithmetic of a chip [TFLOP/s]")
    axis.set_title(f"{name}: {spec.chip.name}, {chips} chips a replica", fontsize="medium")
    axis.grid(**GRID)
    return axis


def points_of(machine: Machine, pool: Pool, context: int) -> list[tuple[str, str, float, float]]:
    """(phase, how much of it, FLOPs per byte, FLOP/s of a chip) of iterations of a pool's role."""
    batches: list[tuple[str, int, Any]] = []
    if pool.role in ("prefill", "mixed"):
        most = min(pool.batching.max_iteration_tokens, machine.context_window)
        fitting = (tokens for tokens in PROMPTS if tokens <= most)
        batches += [("prefill", n, _prompt(machine, n)) for n in fitting]
    if pool.role in ("decode", "mixed"):
        depth = min(context, machine.context_window)
        fitting = (seqs for seqs in SEQS if _has_room(machine, pool, seqs, depth))
        batches += [("decode", n, _decode(machine, n, depth)) for n in fitting]
    chips, found = pool.chips_per_replica, []
    for phase, number, rows in batches:
        intensity, flops_per_s = _point(machine, rows)
        found.append((phase, f"{number:,}", intensity, flops_per_s / chips))
    return found


def _has_room(machine: Machine, pool: Pool, seqs: int, context: int) -> bool:
    """Whether so many sequences fit a replica at once: its seats and its KV."""
    groups = machine.groups
    room = groups * machine.kv_blocks * pool.block_tokens
    return seqs <= pool.batching.max_seqs * groups and seqs * context <= room


def _prompt(machine: Machine, tokens: int) -> Any:
    """A lone prompt, in one of the groups."""
    new, window = float(tokens), float(machine.window)
    rows = np.zeros((machine.groups, len(batch())))
    rows[0] = batch(
        prompt_tokens=new,
        prompts=1.0,
        logit_seqs=1.0,
        prefill_pairs=causal_pairs(new, 0.0),
        prefill_window_pairs=pairs_in_window(new, 0.0, window) if window else 0.0,
        prefill_kv=new,
        prefill_window_kv=new if window else 0.0,
    )
    return rows


def _decode(machine: Machine, seqs: int, context: int) -> Any:
    """Sequences that decode, spread over the groups."""
    own = min(context, machine.window) if machine.window else 0
    rows = np.zeros((machine.groups, len(batch())))
    for group in range(machine.groups):
        mine = float(seqs // machine.groups + (group < seqs % machine.groups))
        rows[group] = batch(
            decode_seqs=mine,
            logit_seqs=mine,
            decode_kv=mine * context,
            decode_window_kv=mine * own,
        )
    return rows


def _point(machine: Machine, rows: Any) -> tuple[float, float]:
    """FLOPs per byte of an iteration, and its FLOP/s on a replica."""
    totals, gaps = np.zeros(len(TOTALS)), np.zeros(GAP_BINS, dtype=np.int64)
    if machine.groups > 1:
        join(machine.table, rows)
    firsts = np.zeros(machine.groups, dtype=np.int64)
    account_groups(machine.table, rows, totals, gaps, 1, firsts)
    total = dict(zip(TOTALS, totals.tolist(), strict=True))
    return total["flops"] / total["bytes"], total["flops"] / total["busy_s"]

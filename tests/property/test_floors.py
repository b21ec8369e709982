"""No layout, model or load is timed below what its bytes, FLOPs and links take at least.

The floors are counted here, from datasheets and shapes, and share no code with the cost model. 100
random cases; `--hypothesis-profile=explore` plays 2,000.
"""

from dataclasses import dataclass

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from gcsim.errors import CapacityError
from gcsim.machine import roofline
from gcsim.machine.layers import layers_of
from gcsim.machine.machine import bind
from gcsim.profiles.chip import Chip
from gcsim.profiles.deployment import Pool
from gcsim.profiles.library import shipped
from gcsim.profiles.model import FORMAT_BYTES, Model
from gcsim.profiles.resolve import load_chip, load_model

CHIPS = {name: load_chip(name) for name in sorted(shipped("chip"))}
MODELS = {name: load_model(name) for name in sorted(shipped("model"))}
EXACT = 1 - 1e-9


@dataclass(frozen=True)
class Load:
    """Prompt chunks of `new` tokens after `past` each, and sequences that decode at `context`."""

    chunks: int
    new: int
    past: int
    seqs: int
    context: int
    ends: bool

    def batch(self, model: Model):
        w = layers_of(model).window  # below 0: chunks
        pairs = roofline.causal_pairs(float(self.new), float(self.past))
        inside = roofline.window_pairs(float(self.new), float(self.past), float(w)) if w else 0.0
        return roofline.batch(
            prompt_tokens=self.chunks * self.new,
            prompts=self.chunks,
            decode_seqs=self.seqs,
            logit_seqs=self.seqs + self.chunks * self.ends,
            decode_kv=self.seqs * self.context,
            decode_window_kv=self.seqs * roofline.windowed(float(self.context), float(w)),
            prefill_pairs=self.chunks * pairs,
            prefill_window_pairs=self.chunks * inside,
            prefill_kv=self.chunks * (self.past + self.new),
            prefill_window_kv=(
                self.chunks * (roofline.windowed(float(self.past), float(w)) + self.new) if w else 0
            ),
        )

    @property
    def tokens(self) -> int:
        return self.chunks * self.new + self.seqs


def expert_layers(model: Model) -> int:
    return model.layers - model.ffn.dense_layers if model.ffn.experts else 0


def least_params(model: Model) -> float:
    """Of a model of several kinds of layers: what is published to be active, without embeddings."""
    assert model.published is not None
    return 0.9 * model.published.active.value - 2 * model.vocab * model.hidden


def attention_params(model: Model) -> int:
    a, d = model.attention, model.hidden
    if a.kind == "gqa":
        return d * a.head_dim * (2 * a.q_heads + 2 * a.kv_heads)
    q = a.q_heads * (a.nope_dim + a.rope_dim)
    into = d * a.q_lora + a.q_lora * q if a.q_lora else d * q
    latent = d * (a.kv_lora + a.rope_dim) + a.kv_lora * a.q_heads * (a.nope_dim + a.v_dim)
    return into + latent + a.q_heads * a.v_dim * d


def flops_floor(model: Model, chip: Chip, pool: Pool, load: Load, busy: int) -> float:
    """2 FLOPs per active parameter and token, and the pairs of full layers, at the fastest peak.

    A group's own on its chips; those of the experts, of all busy groups, on all chips.
    """
    f, a = model.ffn, model.attention
    if f is None or a is None:
        fastest = max(p.value for _, p in chip.compute if p is not None)
        return 2 * load.tokens * least_params(model) / (fastest * pool.chips_per_replica)
    matrices = 3 if f.gated else 2
    per_token = model.layers * attention_params(model)
    expert = expert_layers(model) * f.experts_per_token * matrices * model.hidden * f.d_ff
    if not f.experts:
        per_token += model.layers * matrices * model.hidden * f.d_ff
    per_pair = 4 * a.q_heads * a.head_dim
    if a.kind == "mla":
        per_pair = 2 * a.q_heads * (a.nope_dim + a.rope_dim + a.v_dim)  # of the cheaper form
    pairs = load.chunks * (load.new * load.past + load.new * (load.new + 1) / 2)
    pairs += load.seqs * load.context
    peak = max(p.value for _, p in chip.compute if p is not None)
    work = 2 * load.tokens * per_token + pairs * per_pair * (model.layers - a.window_layers)
    work += 2 * load.tokens * busy * expert / pool.ep
    return work / (peak * pool.tp * pool.pp)


def bytes_floor(model: Model, chip: Chip, pool: Pool, load: Load, busy: int) -> float:
    """Weights that a token needs, once, and KV of full layers, at all bandwidth of the chips.

    A group's own on its chips; the experts that all busy groups touch, on all chips.
    """
    f, a, w = model.ffn, model.attention, model.weights
    bandwidth = sum(
        t.bandwidth.value for t in chip.memory if {"weights", "kv"} & set(t.holds)
    )  # several tiers may stream at once
    if f is None or a is None:
        fewest = min(FORMAT_BYTES[part] for part in (w.attention, w.ffn, w.experts))
        return least_params(model) * fewest / (bandwidth * pool.chips_per_replica)
    read = model.layers * attention_params(model) * FORMAT_BYTES[w.attention]
    matrices = (3 if f.gated else 2) * model.hidden
    if f.experts:
        touched = f.experts * (1 - (1 - f.experts_per_token / f.experts) ** (load.tokens * busy))
        size = matrices * f.d_ff * FORMAT_BYTES[w.experts]
        read += expert_layers(model) * touched * size / pool.ep
    else:
        read += model.layers * matrices * f.d_ff * FORMAT_BYTES[w.ffn]
    per_token = a.kv_lora + a.rope_dim if a.kind == "mla" else 2 * a.kv_heads * a.head_dim
    size = {"bf16": 2, "fp8": 1}[pool.kv_dtype or model.kv]
    kv = per_token * size * (model.layers - a.window_layers)
    read += kv * (load.seqs * load.context + load.chunks * (load.past + load.new))
    return read / (bandwidth * pool.tp * pool.pp)


def links_floor(model: Model, chip: Chip, pool: Pool, load: Load) -> float:
    """Two all-reduces a layer (one, and an exchange, in expert layers with ep) of each group.

    And activations from stage to stage, by whatever is fastest. With m micro-batches in p stages
    (p + m - 1)/p of one m-th is on the way at a time, which is at least 1/p of all.
    """
    if model.ffn is None:  # of several kinds of layers
        return 0.0
    up, n = chip.interconnect.scale_up, pool.tp
    stack = chip.stacks[chip.default_stack]
    exposed = 1 - (stack.comm_overlap.value if stack.comm_overlap else 0)
    expert = expert_layers(model) if pool.ep > 1 else 0
    token = 2 * model.hidden
    links = inside = up.bandwidth.value + (up.switch_bandwidth.value if up.switch_bandwidth else 0)
    if up.topology == "mesh":
        mesh = up.mesh_chips or up.max_chips
        links = up.bandwidth.value * min(n - 1, mesh - 1) / (mesh - 1)
        links += up.switch_bandwidth.value if up.switch_bandwidth and n > mesh else 0
    m = token * load.tokens
    took = (2 * model.layers - expert) * 2 * (n - 1) / n * m / links if n > 1 else 0.0
    domains, ranks = pool.tp * pool.ep / up.max_chips, pool.tp * pool.ep
    if expert and domains <= 1:  # each chip has 1/tp of its group's tokens to send, and get back
        away = min(model.ffn.experts_per_token, ranks) * (ranks - 1) / ranks
        took += 2 * expert * m / pool.tp * away / inside
    fastest = max(inside, chip.interconnect.scale_out.bandwidth.value)
    took += (pool.pp - 1) * m / pool.tp / fastest
    if expert and domains > 1:
        out = chip.interconnect.scale_out.bandwidth.value * pool.tp
        copies = min(model.ffn.experts_per_token, domains)
        took += 2 * expert * token * load.tokens * copies * (domains - 1) / domains / out
    return exposed * took / pool.pp


loads = st.builds(
    Load,
    chunks=st.integers(0, 5),
    new=st.sampled_from([1, 17, 512, 8192]),
    past=st.sampled_from([0, 300, 60_000]),
    seqs=st.sampled_from([0, 1, 2, 7, 64, 256]),
    context=st.sampled_from([1, 900, 30_000, 120_000]),
    ends=st.booleans(),
).filter(lambda load: load.chunks + load.seqs > 0)


@given(
    chip=st.sampled_from(sorted(CHIPS)),
    of=st.sampled_from(sorted(MODELS)),
    tp=st.sampled_from([1, 2, 4, 8, 16]),
    ep=st.sampled_from([1, 1, 2, 4, 8, 32]),
    pp=st.sampled_from([1, 1, 2, 3, 4, 8]),
    load=loads,
    busy=st.sampled_from([1, 2, 32]),
)
def test_no_time_lies_below_its_floors(
    chip: str, of: str, tp: int, ep: int, pp: int, load: Load, busy: int
) -> None:
    model, kind = MODELS[of], CHIPS[chip]
    assume(ep == 1 or model.ffn is None or model.ffn.experts)
    assume(pp <= layers_of(model).count)
    assume(tp <= kind.interconnect.scale_up.max_chips)
    try:
        pool = Pool(chip=kind, tp=tp, ep=ep, pp=pp)
        machine = bind(model, pool)
    except (ValueError, CapacityError):  # does not fit, or reaches nobody
        assume(False)
    batches, busy = np.zeros((ep, len(roofline.BATCH))), min(busy, ep)
    batches[:busy] = load.batch(model)
    roofline.join(machine.table, batches)
    found = dict(zip(roofline.PARTS, roofline.groups_s(machine.table, batches), strict=True))
    floors = (
        flops_floor(model, kind, pool, load, busy),
        bytes_floor(model, kind, pool, load, busy),
        links_floor(model, kind, pool, load),
    )
    assert found["busy_s"] >= max(floors) * EXACT
    assert found["links_s"] >= floors[2] * EXACT
    work_s = found["busy_s"] - found["links_s"] - found["latency_s"]
    assert work_s >= max(floors[:2]) * EXACT

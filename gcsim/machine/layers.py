"""What a layer is: one function per kind of mixer and per kind of FFN, in a dict.

A layer is a mixer (attention, or whatever mixes tokens) and an FFN. A function takes the width of
the model and the settings of its kind, and returns a `Sublayer`: parameters, KV, state, FLOPs. All
else (counts, placement, the rows of a machine) sums over these and asks for no kind by name, so a
new kind is one function and one line here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from inspect import Parameter, signature
from typing import Any

from gcsim.errors import Problem, ProfileError, nearest
from gcsim.profiles.model import Model


@dataclass(frozen=True, slots=True)
class Sublayer:
    """One mixer or one FFN of a model.

    attention_params: of a mixer's projections; ffn_params: of what each token uses (a dense FFN,
    shared experts); expert_params: of each of `experts`, of which a token uses `experts_per_token`;
    moved: activations of a token that are read and written, in widths of the model;
    kv_elements: KV cache of a token, kept for the last `window` tokens (0: for all);
    heads: over how many chips KV and state may be split;
    state_bytes: of a sequence, however long, read and written in every iteration;
    flops_per_token: of the core, beside 2 per parameter; *_flops_per_pair: of a (query, key) pair;
    latent: compresses and expands its projections, which takes more kernels (`mla_kernels`).
    """

    attention_params: int = 0
    ffn_params: int = 0
    router_params: int = 0
    expert_params: int = 0
    experts: int = 0
    experts_per_token: int = 0
    moved: int = 0
    kv_elements: int = 0
    window: int = 0
    heads: int = 1
    state_bytes: int = 0
    flops_per_token: float = 0.0
    decode_flops_per_pair: float = 0.0
    prefill_flops_per_pair: float = 0.0
    latent: bool = False


def gqa(
    hidden: int,
    *,
    q_heads: int,
    kv_heads: int = 1,
    head_dim: int = 128,
    bias: bool = False,
    window: int = 0,
) -> Sublayer:
    """Grouped-query attention: d hidden, q and g query and KV heads of size h.

    params = d q h + 2 d g h + q h d (Q; K, V; O), and a bias of each output
    kv = 2 g h; pair = 4 q h (scores and values)

    >>> gqa(4096, q_heads=32, kv_heads=8).attention_params
    41943040
    """
    if q_heads % kv_heads:
        raise ValueError(f"q_heads {q_heads} is no multiple of kv_heads {kv_heads}")
    q, kv = q_heads * head_dim, kv_heads * head_dim
    pair = 4.0 * q_heads * head_dim
    return Sublayer(
        attention_params=hidden * (q + 2 * kv) + q * hidden + (q + 2 * kv + hidden) * bias,
        moved=4,
        kv_elements=2 * kv,
        window=window,
        heads=kv_heads,
        decode_flops_per_pair=pair,
        prefill_flops_per_pair=pair,
    )


def mla(
    hidden: int,
    *,
    q_heads: int,
    kv_lora: int,
    rope_dim: int,
    nope_dim: int,
    v_dim: int,
    q_lora: int = 0,
    window: int = 0,
) -> Sublayer:
    """Latent attention: d hidden, q heads, latents of r_q and r, sizes n, p, v per head.

    params = d r_q + r_q q (n + p) (Q; d q (n + p) without r_q) + d (r + p) + r q (n + v) + q v d
    kv = r + p, one copy per chip
    pair = 2 q (2 r + p) in decode, absorbed; 2 q (n + p + v) in prefill, expanded

    >>> mla(
    ...     7168, q_heads=128, q_lora=1536, kv_lora=512, rope_dim=64, nope_dim=128, v_dim=128
    ... ).kv_elements
    576
    """
    if not (kv_lora and nope_dim and v_dim):
        raise ValueError("mla needs kv_lora, rope_dim, nope_dim and v_dim")
    q = q_heads * (nope_dim + rope_dim)
    down = hidden * q_lora + q_lora * q if q_lora else hidden * q
    kv_up = kv_lora * q_heads * (nope_dim + v_dim)
    return Sublayer(
        attention_params=down + hidden * (kv_lora + rope_dim) + kv_up + q_heads * v_dim * hidden,
        moved=4,
        kv_elements=kv_lora + rope_dim,
        window=window,
        decode_flops_per_pair=2.0 * q_heads * (2 * kv_lora + rope_dim),
        prefill_flops_per_pair=2.0 * q_heads * (nope_dim + rope_dim + v_dim),
        latent=True,
    )


def dense(hidden: int, *, d_ff: int, gated: bool = True, bias: bool = False) -> Sublayer:
    """A dense FFN of width f: 3 d f if gated (SwiGLU), else 2 d f, and a bias of each output.

    >>> dense(4096, d_ff=14336).ffn_params
    176160768
    """
    into = 2 if gated else 1
    params = (into + 1) * hidden * d_ff + (into * d_ff + hidden) * bias
    return Sublayer(ffn_params=params, moved=3)


def moe(
    hidden: int,
    *,
    d_ff: int,
    experts: int,
    experts_per_token: int,
    shared_experts: int = 0,
    shared_d_ff: int = 0,
    gated: bool = True,
    bias: bool = False,
) -> Sublayer:
    """A mixture of E experts of width f, k per token, shared ones, and a router d E.

    >>> moe(2880, d_ff=2880, experts=128, experts_per_token=4, bias=True).expert_params
    24891840
    """
    if not 1 <= experts_per_token <= experts:
        raise ValueError("experts_per_token must be between 1 and experts")
    shared = shared_experts * (shared_d_ff or d_ff)
    return Sublayer(
        ffn_params=dense(hidden, d_ff=shared, gated=gated, bias=bias).ffn_params if shared else 0,
        router_params=hidden * experts + experts * bias,
        expert_params=dense(hidden, d_ff=d_ff, gated=gated, bias=bias).ffn_params,
        experts=experts,
        experts_per_token=experts_per_token,
        moved=2 * (experts_per_token + 1),
    )


MIXERS: dict[str, Callable[..., Sublayer]] = {"gqa": gqa, "mla": mla}
FFNS: dict[str, Callable[..., Sublayer]] = {"dense": dense, "moe": moe}


@dataclass(frozen=True, slots=True)
class Layers:
    """The layers of a model: how many there are, and its sublayers as (how many, what)."""

    count: int
    runs: tuple[tuple[int, Sublayer], ...]

    def total(self, of: Callable[[Sublayer], int]) -> int:
        """The sum of a whole number over all sublayers."""
        return sum(number * of(sublayer) for number, sublayer in self.runs)

    @property
    def moe(self) -> int:
        """How many layers have experts."""
        return self.total(lambda s: s.experts > 0)

    @property
    def experts(self) -> int:
        """Experts of an MoE layer, 0 without."""
        return max(s.experts for _, s in self.runs)

    @property
    def experts_per_token(self) -> int:
        """Experts of an MoE layer that a token uses."""
        return max(s.experts_per_token for _, s in self.runs)

    @property
    def window(self) -> int:
        """Tokens that sliding layers see, 0 without."""
        return max(s.window for _, s in self.runs)

    @property
    def latent(self) -> bool:
        """Whether some layer has latent attention."""
        return any(s.latent for _, s in self.runs)


@lru_cache(maxsize=256)
def layers_of(model: Model) -> Layers:
    """The layers of a model profile, in its short form or as listed runs.

    Errors: `ProfileError` for a kind that is not in `MIXERS` or `FFNS`, and for its settings.

    >>> from gcsim.profiles.resolve import load_model
    >>> found = layers_of(load_model("gpt-oss-120b"))
    >>> found.count, found.moe, found.window, [number for number, _ in found.runs]
    (36, 36, 128, [18, 18, 36])
    """
    problems: list[Problem] = []
    parts = _listed(model) if model.runs else _short(model)
    runs = [
        (number, found)
        for number, where, kinds, settings in parts
        if number and (found := _made(model, where, kinds, settings, problems)) is not None
    ]
    for what, sizes in (
        ("experts, experts_per_token", {(s.experts, s.experts_per_token) for _, s in runs}),
        ("window", {s.window for _, s in runs}),
    ):
        if len(sizes - {0, (0, 0)}) > 1:
            why = f"layers differ in their {what}: one size per model"
            problems.append(Problem(model.name, "layers", None, why))
    if problems:
        raise ProfileError(problems)
    return Layers(model.layers, tuple(runs))


Part = tuple[int, str, dict[str, Callable[..., Sublayer]], dict[str, Any]]


def _listed(model: Model) -> list[Part]:
    parts: list[Part] = []
    for index, run in enumerate(model.runs):
        parts.append((run.repeat, f"layers.{index}.mixer", MIXERS, run.mixer.model_dump()))
        parts.append((run.repeat, f"layers.{index}.ffn", FFNS, run.ffn.model_dump()))
    return parts


def _short(model: Model) -> list[Part]:
    """`window_layers` of the layers slide, the first `dense_layers` of a mixture are dense."""
    attention, ffn = model.attention, model.ffn
    assert attention is not None
    assert ffn is not None  # the profile has both, or runs
    sliding, mixer = attention.window_layers, attention.model_dump()
    wide = ffn.dense_layers if ffn.experts else model.layers
    expert = {**ffn.model_dump(), "kind": "moe"}
    plain = {**expert, "kind": "dense", "d_ff": ffn.dense_d_ff or ffn.d_ff}
    return [
        (model.layers - sliding, "attention", MIXERS, _known(MIXERS, {**mixer, "window": 0})),
        (sliding, "attention", MIXERS, _known(MIXERS, mixer)),
        (wide, "ffn", FFNS, _known(FFNS, plain)),
        (model.layers - wide, "ffn", FFNS, _known(FFNS, expert)),
    ]


def _known(
    kinds: Mapping[str, Callable[..., Sublayer]], settings: dict[str, Any]
) -> dict[str, Any]:
    """The settings that a kind has: the short form has those of all kinds, with defaults."""
    make = kinds.get(settings["kind"])
    names = {"kind", *signature(make).parameters} if make else {"kind"}
    return {name: value for name, value in settings.items() if name in names}


def _made(
    model: Model,
    where: str,
    kinds: Mapping[str, Callable[..., Sublayer]],
    settings: dict[str, Any],
    problems: list[Problem],
) -> Sublayer | None:
    kind, given = settings["kind"], {k: v for k, v in settings.items() if k != "kind"}
    if kind not in kinds:
        why, hint = "is no known kind", nearest(kind, kinds)
        problems.append(Problem(model.name, f"{where}.kind", kind, why, hint))
        return None
    known = dict(list(signature(kinds[kind]).parameters.items())[1:])
    found = len(problems)
    for name in given.keys() - known.keys():
        hint = nearest(name, known)
        problems.append(Problem(model.name, f"{where}.{name}", None, "unknown key", hint))
    for name, parameter in known.items():
        if name not in given and parameter.default is Parameter.empty:
            problems.append(Problem(model.name, f"{where}.{name}", None, f"is missing: {kind}"))
    for name in given.keys() & known.keys():
        value, wanted = given[name], known[name].annotation
        numbers = isinstance(value, int | float) and value >= 0
        if not (numbers and (wanted is float or isinstance(value, int))):
            why = f"must be a number of type {wanted.__name__}, 0 or more"
            problems.append(Problem(model.name, f"{where}.{name}", value, why))
    if len(problems) > found:
        return None
    try:
        return kinds[kind](model.hidden, **given)
    except ValueError as error:
        problems.append(Problem(model.name, where, None, str(error)))
        return None

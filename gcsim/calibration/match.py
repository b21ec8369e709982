"""What a published row means in profiles: chip, model, number formats, serving stack, load.

The three tables here hold all that is known about how sources name things; nothing else in the
validation depends on a source.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import get_args

from gcsim.calibration.factors import serving_stack
from gcsim.calibration.points import Point, Side
from gcsim.errors import GcsimError
from gcsim.machine.layers import layers_of
from gcsim.profiles import library
from gcsim.profiles.chip import Chip
from gcsim.profiles.deployment import Batching, Deployment, Link, Pool, Router
from gcsim.profiles.model import KvFormat, Model, WeightFormat, Weights
from gcsim.profiles.resolve import load_chip, load_model

# (framework and date, as a pattern) -> stack family; the first that matches counts.
STACKS = (
    (r"sambaflow|sambanova", "sambaflow"),
    (r"atom", "atom"),
    (r"vllm \(2023\)", "vllm-2023"),
    (r"(trt|tensorrt).*\b1\.0\.0rc", "trtllm-2025"),
    (r"trt|tensorrt", "trtllm"),
    (r"sglang", "sglang"),
    (r"vllm|deepspeed", "vllm"),
)
# Older generations of a family, by the month until which they were served.
OLDER = {
    "2025-01": {"vllm": "vllm-2024", "trtllm": "trtllm-2024", "sglang": "sglang-2024"},
    "2025-04": {"vllm": "vllm-2025-q1", "trtllm": "trtllm-2025-q1", "sglang": "sglang-2024"},
}

# Argonne's A100 are those of its Polaris machine (40 GB); its table does not say so.
HARDWARE = {("ARG", "NVIDIA A100"): "a100-40gb", ("ART", "NVIDIA A100"): "a100-40gb"}

FP8_KV_CHIPS = ("b200", "b300", "gb200", "gb300", "mi355x")

# KV transfer as measured for vLLM with Mooncake (see the shipped deployments); the first token
# comes from decode, as with Dynamo, SGLang, and vLLM with NIXL.
LINK = {"latency": "10 us", "setup": "0.2 ms", "efficiency": 0.7, "ramp": "32 MB"}


@dataclass(frozen=True, slots=True)
class Setup:
    """A row in profiles: model with its formats, deployment, stack family as published.

    `borrowed`: the chip has no such stack, its default stands in.
    """

    chip: str
    stack: str
    borrowed: bool
    model: Model
    deployment: Deployment

    @property
    def pool(self) -> Pool:
        """The pool that decodes."""
        return list(self.deployment.pools.values())[-1]


def stack_of(framework: str, date: str = "", known: Sequence[str] = ()) -> str:
    """The stack family of a framework as a source names it; known: other names that it may have.

    >>> stack_of("dynamo-trt 0.8.1.post1", "2026-01-15"), stack_of("vLLM (2024)", "2024")
    ('trtllm', 'vllm-2024')
    >>> stack_of("trtllm 1.0.0rc3"), stack_of("trtllm 1.1.0")
    ('trtllm-2025', 'trtllm')
    >>> stack_of(""), stack_of("ours 2.1", known=["ours"])
    ('vllm', 'ours')
    """
    text = framework.lower()
    named = next((name for name in known if name.lower() == text.partition(" ")[0]), "vllm")
    family = next((name for pattern, name in STACKS if re.search(pattern, text)), named)
    month = f"{date.partition('/')[0]}-12"[:7] if len(date) < 7 else date[:7]
    tuned = "rocm" in text  # AMD's own images of early 2025 are ahead of their time
    if not month[:1].isdigit() or tuned:
        return family
    older = (names[family] for until, names in OLDER.items() if month < until and family in names)
    return next(older, family)


def release_of(framework: str, date: str = "") -> str:
    """Which release of its software a row is of: its version, else its month, else unknown.

    >>> release_of("sglang v0.5.12-rocm700-mi30x", "2026-05"), release_of("trt", "2025-11-03")
    ('0.5.12', '2025-11')
    """
    found = re.search(r"\d+\.\d+(?:\.\d+)?", framework)
    return found.group(0) if found else date[:7]


BITS = {"bf16": 16, "fp32": 32, "fp8": 8, "int8": 8, "mxfp4": 4, "nvfp4": 4, "int4": 4}


def precision_of(model: Model) -> str:
    """The format of most of a model's weights, whatever its vendor calls it: "8 bit"."""
    own = model.weights
    return f"{BITS[own.experts if layers_of(model).experts else own.ffn]} bit"


@cache
def _chip(name: str) -> Chip:
    return load_chip(name)


def forget() -> None:
    """Read chip profiles anew from now on, here and in the workers of parallel runs."""
    from joblib.externals.loky import get_reusable_executor

    _chip.cache_clear()
    get_reusable_executor().shutdown(wait=True)


@cache
def _model(name: str) -> Model:
    return load_model(name)


def find_chip(point: Point, own: Chip | None = None) -> Chip | None:
    """The chip of a row: the user's `own` if it is called so, else a shipped one, else None."""
    name = HARDWARE.get((point.id.partition("-")[0], point.hardware), point.hardware)
    if own is not None and library.plain(name) in map(library.plain, (own.name, *own.aliases)):
        return own
    try:
        return _chip(name)
    except GcsimError:
        return None


def find_model(name: str) -> Model | None:
    """The shipped model of a row: by alias, else without what quantizers add to names."""
    plain = re.sub(r"[\s-]*(\(.*\)|instruct|nvfp4|mxfp4|fp8|fp4)\b", "", name, flags=re.IGNORECASE)
    for candidate in (name, name.rpartition("/")[2], plain, plain.rpartition("/")[2]):
        try:
            return _model(candidate)
        except GcsimError:
            continue
    return None


def formats_of(model: Model, dtype: str, chip: Chip) -> Weights:
    """Number formats of a checkpoint: the model's shape, a source's word for its weights.

    fp8 and 16 bit apply to all matrices. 4 bit: NVFP4 (MXFP4 on AMD) for FFN and experts, and for
    the attention of dense models; MoE checkpoints keep attention wide. A model whose own experts
    are 4 bit is taken as it is. Unstated means native.
    """
    own = model.weights
    four_bit = own.experts in ("mxfp4", "nvfp4", "int4") and layers_of(model).experts > 0
    if dtype in get_args(WeightFormat):
        wanted = dtype
    elif "fp4" in dtype or dtype in ("int4", "4-bit"):
        wanted = "mxfp4" if chip.vendor == "AMD" else "nvfp4"
    elif "8" in dtype:
        wanted = "fp8"
    else:
        wanted = "bf16" if "16" in dtype else own.ffn
    if wanted in ("bf16", "fp32") and not ("unstated" in dtype and own.ffn != "bf16"):
        return (
            own
            if four_bit
            else own.model_copy(update={"attention": wanted, "ffn": wanted, "experts": wanted})
        )
    if wanted in ("mxfp4", "nvfp4", "int4"):
        if four_bit and own.experts != "int4":
            return own
        if four_bit and dtype == "int4":
            return own
        update = {"ffn": wanted, "experts": wanted}
        if not layers_of(model).experts:
            update["attention"] = wanted
        elif own.attention == "fp8" and layers_of(model).latent:
            update["attention"] = "bf16"
        return own.model_copy(update=update)
    if four_bit:
        return own
    return own.model_copy(update={"attention": wanted, "ffn": wanted, "experts": wanted})


def kv_format(model: Model, chip: Chip, stack: str, name: str = "") -> KvFormat:
    """KV in FP8 where stacks do so by default: 8- and 4-bit weights on Blackwell, TensorRT-LLM."""
    if "FP8-KV" in name:
        return "fp8"
    narrow = model.weights.ffn != "bf16" or model.weights.experts in ("mxfp4", "nvfp4")
    quick = chip.name in FP8_KV_CHIPS or stack in ("trtllm", "trtllm-2025")
    return "fp8" if narrow and quick else model.kv


def setup_of(point: Point, own: Chip | None = None) -> Setup | str:
    """Profiles for a row, or the reason why it cannot be matched; own: a chip of the user's."""
    chip = find_chip(point, own)
    if chip is None:
        return "unknown chip"
    model = find_model(point.model)
    if model is None:
        return "unknown model"
    stack = stack_of(point.framework, point.date, tuple(chip.stacks))
    if chip.execution == "fused":  # a dataflow chip runs what its vendor makes
        stack = chip.default_stack
    model = model.model_copy(update={"weights": formats_of(model, point.dtype, chip)})
    borrowed = stack not in chip.stacks
    used = chip.default_stack if borrowed else stack
    try:
        deployment = deployment_of(point, chip, model, stack, used)
    except ValueError as error:
        reason = str(error)
        if "scale-up" in reason:
            return "more chips than the scale-up links reach"
        raise
    return Setup(chip.name, stack, borrowed, model, deployment)


def on_chips(setup: Setup, change: Callable[[Chip], Chip]) -> Setup:
    """A setup on changed chips, with the stack that was published, not the one that stands in."""
    pools = {
        name: pool.model_copy(update={"chip": change(pool.chip), "stack": setup.stack})
        for name, pool in setup.deployment.pools.items()
    }
    return replace(setup, deployment=setup.deployment.model_copy(update={"all_pools": pools}))


def deployment_of(point: Point, chip: Chip, model: Model, stack: str, used: str) -> Deployment:
    """The deployment of a row: one pool, or prefill and decode pools with a generic link."""
    kv, habits = kv_format(model, chip, stack, point.model), serving_stack(stack).batching

    def pool(role: str, side: Side, policy: str) -> Pool:
        # Groups share experts; a dense model that is served data-parallel is so many replicas.
        groups = side.dp if layers_of(model).experts else 1
        # Limits are those of a data-parallel rank, as serving stacks state them.
        seats, budget = max(point.concurrency, 1), habits.max_iteration_tokens
        if point.batch:
            budget = max(budget, -(-point.concurrency // groups) * point.isl)
        return Pool(
            role=role,
            chip=chip,
            tp=side.tp,
            ep=groups,
            replicas=side.workers * side.dp // groups,
            stack=used,
            batching=Batching(
                policy=policy, max_seqs=seats, max_iteration_tokens=max(budget, seats)
            ),
            kv_dtype=kv,
            prefix_cache_tokens=None if point.cached else 0,
            memory_utilization=0.92,
        )

    name = f"published-{point.id}"
    if point.prefill is None:
        pools = {"serve": pool("mixed", point.serving, habits.policy)}
        router = Router(policy="least_loaded")
        return Deployment(name=name, pools=pools, router=router)
    pools = {
        "prefill": pool("prefill", point.prefill, "prefill_only"),
        "decode": pool("decode", point.serving, "decode_only"),
    }
    # A rack-wide scale-up domain carries the KV too; elsewhere each chip has its network card.
    up, out = chip.interconnect.scale_up, chip.interconnect.scale_out
    one_domain = point.prefill.chips + point.serving.chips <= up.max_chips
    rate = (up if one_domain else out).bandwidth.value
    link = Link.model_validate(
        {
            "from": "prefill",
            "to": "decode",
            "lanes": point.prefill.tp * point.prefill.dp,
            "bandwidth": f"{rate / 1e9:.9g} GB/s",
            **LINK,
        }
    )
    return Deployment(
        name=name,
        pools=pools,
        links=(link,),
        router=Router(policy="least_loaded"),
    )

"""The layers of a model: the kinds (`gcsim.machine.kinds`) that its profile names, made and summed.

Who counts, places or times a model asks here, and for no kind by name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from inspect import Parameter, signature
from typing import Any

from gcsim.errors import Problem, ProfileError, nearest
from gcsim.machine.kinds import FFNS, MIXERS, Sublayer
from gcsim.profiles.model import Model


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
        """Tokens that some layers see at most, 0 without; below 0: those of a chunk of -window."""
        return next((seen for _, s in self.runs if (seen := s.window or s.selected)), 0)

    @property
    def reduced(self) -> int:
        """Sublayers: after each of them tensor-parallel chips add up."""
        return self.total(lambda s: s.moved > 0)

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
        ("window, chunk or top_k", {s.window or s.selected for _, s in runs}),
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
    for index, run in enumerate(model.runs or ()):
        parts.append((run.repeat, f"layers.{index}.mixer", MIXERS, run.mixer.model_dump()))
        if run.ffn is not None:
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
        if wanted is Sublayer:  # a mixer around another
            inner = value if isinstance(value, dict) else {}
            made = _made(model, f"{where}.{name}", kinds, {"kind": "", **inner}, problems)
            given = {**given, name: made}
            continue
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

"""A drafter beside its model: its layers as a model of their own, what it yields, its memory."""

from dataclasses import dataclass

from gcsim.errors import ProfileError, nearest
from gcsim.machine.counts import weight_bytes
from gcsim.machine.layers import layers_of
from gcsim.profiles.deployment import Pool
from gcsim.profiles.model import Drafter, Model


@dataclass(frozen=True, slots=True)
class Drafted:
    """The bytes that a drafter adds to a replica: experts, which are spread wider, and the rest."""

    experts: float = 0.0
    rest: float = 0.0


def shape_of(model: Model, pool: Pool) -> Model | None:
    """The layers of the drafter that a pool asks for, as a model; None where it asks for none.

    Its one matrix of the vocabulary is the head that ranks its guesses: the model's, or its own.
    Errors: `ProfileError` for a name that the model does not have, or a window unlike the model's.
    """
    name = pool.speculation.drafter if pool.speculation else None
    if name is None:
        return None
    drafters = {each.name: each for each in model.drafters}
    drafter = drafters.get(name)
    if drafter is None:
        known = ", ".join(drafters) or "none"
        why = f"{model.name} has no drafter of this name (it has: {known})"
        raise ProfileError.one("pools", "speculation.drafter", name, why, nearest(name, drafters))
    shape = Model(
        name=f"{model.name} {name}",
        layers=sum(run.repeat for run in drafter.layers),
        runs=drafter.layers,
        hidden=model.hidden,
        vocab=drafter.vocab or model.vocab,
        context_window=model.context_window,
        tied_embeddings=True,
        weights=drafter.weights,
        kv=model.kv,
    )
    window, own = layers_of(model).window, layers_of(shape).window
    if own not in (0, window):
        why = f"sees {own} tokens, its model {window}: one size for both"
        raise ProfileError.one(model.name, f"drafters.{name}.layers", None, why)
    return shape


def _named(model: Model, name: str) -> Drafter:
    return next(each for each in model.drafters if each.name == name)


def tokens_per_step(model: Model, pool: Pool) -> tuple[int, float]:
    """Tokens that a decode iteration verifies per sequence, and yields on average.

    1 + k and sum of a^i, i = 0..k, for a chance a that each of k tokens is accepted after those
    before it; or what is published of the drafter.

    Errors: `ProfileError` for a draft length or a domain of which nothing is published.
    """
    speculation = pool.speculation
    if speculation is None:
        return 1, 1.0
    k, a = speculation.draft_tokens, speculation.acceptance
    if a is not None:
        return k + 1, k + 1.0 if a == 1 else (1 - a ** (k + 1)) / (1 - a)
    assert shape_of(model, pool) is not None
    name = str(speculation.drafter)
    try:
        return k + 1, _named(model, name).tokens_per_step(k, speculation.domain)
    except ValueError as error:
        why = f"{error} of {name} of {model.name}"
        raise ProfileError.one("pools", "speculation.draft_tokens", k, why) from error


def bytes_of(model: Model, pool: Pool) -> Drafted:
    """What the weights of a pool's drafter take; the head and the table are the model's own."""
    shape = shape_of(model, pool)
    if shape is None:
        return Drafted()
    sizes = weight_bytes(shape)
    own_head = _named(model, str(pool.speculation and pool.speculation.drafter)).vocab > 0
    return Drafted(sizes.experts, sizes.total - sizes.experts - (0.0 if own_head else sizes.head))

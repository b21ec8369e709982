"""Where chips stand and who pays: what turns chips and watts into dollars and racks."""

from typing import Literal

from gcsim.profiles.base import Number, Seconds, Spec, UsdPerKwh, Watts
from gcsim.profiles.inherit import read
from gcsim.profiles.library import Library
from gcsim.profiles.load import validate


class Site(Spec):
    """A site and its terms; every number has its origin.

    basis: `rental`, by the hour with power and host in it (the chip's `price.usd_per_chip_hour`),
    or `purchase`: the chip's `price.purchase` x `beside_chips` (hosts, network, storage), paid back
    over `amortisation` at `interest` a year, in the hours that are `in_use`, and electricity.
    pue: power of the site / power of the chips' nodes; rack_power: what a rack may draw.
    idle_power, memory_power: of a node's full power, when idle and while memory, links or fixed
    times bind. cached_price, output_price: of a token, in prices of an input token: how the cost is
    shared among the three.
    """

    name: str
    """What it is called; its file is named so too."""
    description: str = ""
    """One sentence, for lists."""
    basis: Literal["rental", "purchase"]
    """rental: by the hour; purchase: paid back over the amortisation, and electricity."""
    electricity: UsdPerKwh
    """Price of electricity."""
    pue: Number
    """Power of the site over power of the chips' nodes."""
    rack_power: Watts
    """What a rack may draw."""
    amortisation: Seconds
    """Over which a purchase is paid back."""
    interest: Number
    """Of a year, as a fraction."""
    in_use: Number
    """Fraction of the hours in which chips serve."""
    beside_chips: Number
    """What hosts, network and storage add to the price of chips, as a factor."""
    idle_power: Number
    """Of an idle node, as a fraction of its full power."""
    memory_power: Number
    """Of a node while memory, links or fixed times bind, as a fraction."""
    cached_price: Number
    """Of a cached token, in prices of an input token."""
    output_price: Number
    """Of an output token, in prices of an input token."""


def load_site(name: str, library: Library | None = None) -> Site:
    """A site by name or path.

    >>> load_site("owned").basis, load_site("rented").pue.value
    ('purchase', 1.25)
    """
    mapping, lines, path = read("site", name, library)
    return validate(Site, mapping, str(path), lines)

"""Content ids: plain ints from 0 to 2^63, so that equal ids are equal tokens and nothing else.

| bits 60-62 | what | the rest |
| --- | --- | --- |
| 0 | private content of one trajectory | slot (8 bits), trajectory (32), piece (20) |
| 1 | shared content, by name | 60 bits of BLAKE2b |
| 2 | a hash of a trace | slot (8), hash (52) |
| 3 | an output from before the run | trajectory of the run (32), step (20) |

The slot is the place of a class or trace in its mix. Ids below 0 belong to the engine: outputs.
"""

from hashlib import blake2b

PIECE_BITS, NUMBER_BITS, HASH_BITS = 20, 32, 52
SHARED, HASHED, SAID = 1 << 60, 2 << 60, 3 << 60


def private(slot: int, number: int) -> int:
    """The first private id of a trajectory; add the number of the piece.

    >>> private(1, 2) - private(1, 1) == 1 << 20
    True
    """
    return (slot << NUMBER_BITS | number) << PIECE_BITS


def shared(name: str, role: str) -> int:
    """The id of content that all trajectories of a class share; the same in every run.

    >>> shared("chatbot", "prefix") == shared("chatbot", "prefix") != shared("voice", "prefix")
    True
    """
    digest = blake2b(f"{name}\0{role}".encode(), digest_size=8).digest()
    return SHARED | int.from_bytes(digest, "big") >> 4


def hashed(slot: int) -> int:
    """What to add to a block hash of a trace (below 2^52; see `small`) to make it an id."""
    return HASHED | slot << HASH_BITS


def said(number: int, step: int) -> int:
    """The id of what a step of a trajectory generated before the run (`gcsim.traffic.midway`).

    >>> said(3, 1) - said(3, 0), said(4, 0) > said(3, 1000)
    (1, True)
    """
    return SAID | number << PIECE_BITS | step


def small(number: int) -> int:
    """A hash of any size as one below 2^52; the small ones, which traces mostly hold, stay.

    >>> small(46), small(2**63) < 1 << 52
    (46, True)
    """
    if 0 <= number < 1 << (HASH_BITS - 1):
        return number
    digest = blake2b(str(number).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big") >> 5 | 1 << (HASH_BITS - 1)

"""Content ids: never the same for different content, always the same for shared content."""

from gcsim.traffic import ids


def test_the_kinds_of_ids_do_not_meet() -> None:
    top_private = ids.private(255, 2**32 - 1) + 2**20 - 1
    assert top_private < ids.SHARED
    assert ids.SHARED <= ids.shared("any", "prefix") < ids.HASHED
    assert ids.HASHED <= ids.hashed(0) < ids.hashed(255) + 2**52 <= 2**63


def test_private_ids_of_two_trajectories_do_not_overlap() -> None:
    assert ids.private(0, 1) - ids.private(0, 0) == 2**20
    assert ids.private(1, 0) - ids.private(0, 2**32 - 1) == 2**20


def test_shared_ids_depend_on_name_and_role() -> None:
    names = [("a", "b"), ("a", "c"), ("b", "b"), ("ab", ""), ("", "ab")]
    assert len({ids.shared(*name) for name in names}) == len(names)
    assert ids.shared("chatbot", "prefix") == 1996051869699271948  # in every run, on every machine


def test_small_hashes_stay_and_large_ones_fit() -> None:
    assert [ids.small(n) for n in (0, 46, 2**51 - 1)] == [0, 46, 2**51 - 1]
    large = [2**51, 2**63 - 1, 2**64 + 5, -7]
    found = [ids.small(n) for n in large]
    assert len(set(found)) == 4
    assert all(2**51 <= n < 2**52 for n in found)

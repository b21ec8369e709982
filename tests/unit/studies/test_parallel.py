"""Many runs in parallel processes: gcsim.studies.parallel."""

import pytest

from gcsim.studies.parallel import called


@pytest.mark.slow
def test_a_process_that_has_grown_is_replaced_without_a_word() -> None:
    """Its warning is an error here, and would end the thread that all wait for."""

    def grow(number: int) -> int:
        import sys
        import time

        vars(sys).setdefault("kept", []).append(bytearray(b"1" * (400 * 2**20 * (number > 1))))
        time.sleep(1.2)
        return number

    assert called(grow, [(number,) for number in range(8)], jobs=2) == list(range(8))

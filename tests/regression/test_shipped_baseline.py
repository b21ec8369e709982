"""The shipped scenarios still give what was blessed (gcsim check, on the project itself).

The truths in tests/truth say that the model is right; this says only that it did not move unseen.
A move that is meant is blessed again, and says why:

    gcsim bless --baseline tests/regression/baseline.json --why "..."
"""

from pathlib import Path

from gcsim.cli.check_text import annotation
from gcsim.profiles import library
from gcsim.studies.baseline import check, read

BASELINE = Path(__file__).with_name("baseline.json")
NEEDS_A_FILE = {"mooncake-replay", "weka-replay"}  # traces that are too large to ship


def test_nothing_moved_unseen() -> None:
    failed = [annotation(verdict, BASELINE) for verdict in check(BASELINE) if not verdict.passes]
    assert not failed, "\n".join(failed).replace("%0A", "\n")


def test_it_pins_every_shipped_scenario_and_says_why() -> None:
    baseline = read(BASELINE)
    assert {name.removesuffix(".yaml") for name in baseline.scenarios} >= {
        name for name in library.shipped("scenario") if name not in NEEDS_A_FILE
    }
    assert len(baseline.why) > 10

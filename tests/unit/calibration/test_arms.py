"""Published runs of many rates: how their rows are read (gcsim.calibration.arms)."""

from pathlib import Path

import pytest
import toys

from gcsim.calibration.arms import Arm, read_arms
from gcsim.errors import ProfileError

HEAD = (
    "id,source,date,hardware,chips,tp,model,weight_dtype,framework,isl,osl,concurrency_or_batch,"
    "ttft_ms,e2e_ms,tok_s_total,notes"
)
SERVER = "a lab,2026,NVIDIA H100 SXM,4,2,Qwen/Qwen3-32B,bf16,vLLM 0.22 (2 replicas TP2)"
LADDER = "open loop Poisson; 15 prefixes x 5 questions; shared prefix 600 tok; "
LADDER += "KV 30,720 tok per replica; warm-up 5 req/s x 10 s; single-chunk prefill 15,928 tok/s"


def row(name: str, rate: str, policy: str, ttft_ms: str = "100", rest: str = LADDER) -> str:
    note = f"{rate}; {policy}; ttft=mean, p90=150 ms; {rest}"
    return f'{name},{SERVER},720,100,,{ttft_ms},,500,"{note}"'


def arms(tmp_path: Path, *rows: str) -> tuple[list[Arm], dict[str, str]]:
    path = tmp_path / "points.csv"
    path.write_text("\n".join([HEAD, *rows, ""]), encoding="utf-8")
    return read_arms(path)


def test_rows_of_one_policy_are_the_stages_of_one_run(tmp_path: Path) -> None:
    blind, aware = "k8s Service round robin", "llm-d prefix-affinity routing"
    found, skipped = arms(
        tmp_path,
        row("A-1", "rate=3 req/s for 20 s", blind),
        row("A-2", "rate=3 req/s for 20 s", aware, "50"),
        row("A-3", "rate=10 req/s for 30 s", blind),
    )
    assert not skipped
    first, other = found
    assert [stage.id for stage in first.stages] == ["", "A-1", "A-3"]
    assert [(s.rate, s.seconds) for s in first.stages] == [(5, 10), (3, 20), (10, 30)]
    assert first.stages[1].published == {"ttft": 0.1, "ttft_p90": 0.15, "throughput": 500}
    assert (first.server.policy, other.server.policy) == ("round_robin", "prefix_filter")
    assert (first.prefixes, first.each, first.prefix, first.question) == (15, 5, 600, 120)
    assert (first.server.replicas, first.server.kv_tokens, first.server.prefill) == (
        2,
        30720,
        15928,
    )
    assert first.poisson
    assert not first.clients


def test_what_a_source_says_once_holds_for_its_other_runs(tmp_path: Path) -> None:
    bare = "8 prefixes x 2; prefix 600 tok"
    both = "CPU KV offload"
    found, _ = arms(
        tmp_path,
        row("A-1", "rate=3 req/s for 20 s", "k8s Service"),
        row("A-2", "rate=5 req/s Poisson, 60 s stages", "HBM only", rest=bare),
        row("A-3", "rate=5 req/s Poisson, 60 s stages", both, rest=bare),
    )
    assert [arm.server.prefill for arm in found] == [15928] * 3
    assert [arm.server.tier for arm in found] == [False, False, True]
    assert found[2].server.tier_bytes == 100 * 2**30


@pytest.mark.parametrize(
    ("note", "why"),
    [
        ("affinity + P2P pull", "a peer's memory"),
        ("affinity; CAUTION outputs are far shorter", "outputs are not as long"),
        ("routed somehow", "routing is not stated"),
        ("P/D 4P1D; affinity", "two pools"),
    ],
)
def test_what_cannot_be_played_is_told(tmp_path: Path, note: str, why: str) -> None:
    found, skipped = arms(tmp_path, row("A-1", "rate=3 req/s for 20 s", note, rest=""))
    assert not found
    assert why in skipped["A-1"]


def test_a_file_that_is_none_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="cannot be read"):
        read_arms(tmp_path / "absent.csv")
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ProfileError, match="has no column id"):
        read_arms(path)


def test_the_public_table_is_read_to_the_last_row() -> None:
    found, skipped = read_arms(toys.public_points("points-open-loop.csv"))
    ids = [stage.id for arm in found for stage in arm.stages if stage.id]
    assert len(ids) == len(set(ids)) >= 100
    assert not set(ids) & set(skipped)
    assert {arm.server.policy for arm in found} >= {"round_robin", "prefix_filter", "least_loaded"}
    assert {len(arm.stages) for arm in found if arm.name.startswith("LLD-000")} == {17}

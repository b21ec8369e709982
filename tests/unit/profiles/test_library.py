"""`gcsim.profiles.library`: names, aliases and paths to files."""

from pathlib import Path

import pytest

from gcsim.errors import ProfileError
from gcsim.profiles.library import Library, aliases, shipped

SPELLINGS = {  # as published measurements write them
    "openai/gpt-oss-120b": "gpt-oss-120b",
    "openai/gpt-oss-120b (low)": "gpt-oss-120b",
    "GPT-OSS-20B": "gpt-oss-20b",
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "meta-llama/Meta-Llama-3-8B": "llama-3.1-8b",
    "meta-llama/Llama-3.1-70B": "llama-3.3-70b",
    "Llama 3.1 70B Instruct FP8-KV": "llama-3.3-70b",
    "Llama-3.1-405B FP8 (Meta ckpt)": "llama-3.1-405b",
    "DeepSeek-R1-0528 671B": "deepseek-r1",
    "deepseek-ai/DeepSeek-V3": "deepseek-r1",
    "MiniMaxAI/MiniMax-M2.5": "minimax-m2",
    "MiniMax-M2.7": "minimax-m2",
    "Qwen/Qwen3-32B": "qwen3-32b",
    "Qwen/Qwen3-235B-A22B-FP8": "qwen3-235b-a22b",
    "mistralai/Mixtral-8x7B-v0.1": "mixtral-8x7b",
}


@pytest.mark.parametrize(("written", "name"), SPELLINGS.items())
def test_published_spellings_of_models(written: str, name: str) -> None:
    assert Library().find("model", written) == shipped("model")[name]


@pytest.mark.parametrize(
    ("written", "name"),
    [("NVIDIA H100 SXM", "h100-sxm"), ("MI300X", "mi300x"), ("SambaNova SN40L", "sn40l")],
)
def test_published_spellings_of_chips(written: str, name: str) -> None:
    assert Library().find("chip", written) == shipped("chip")[name]


def test_a_dot_is_part_of_a_name() -> None:
    with pytest.raises(ProfileError):
        Library().find("model", "MiniMax-M25")


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        ("chip", "sn40", ""),  # an alias
        ("chip", "sn41l", "did you mean 'sn40l'?"),
        ("model", "gpt-oss-12b", "did you mean 'gpt-oss-120b'?"),
        ("deployment", "sn40l-mon", "did you mean 'sn40l-mono'?"),
        ("chip", "abacus", "gh200, h100-sxm"),
    ],
)
def test_an_unknown_name_gets_the_nearest(kind: str, name: str, hint: str) -> None:
    if not hint:
        assert Library().find(kind, name).stem == "sn40l"
        return
    with pytest.raises(ProfileError, match=f"no {kind} of this name") as caught:
        Library().find(kind, name)
    assert hint in str(caught.value)
    assert f"gcsim list {kind}s" in str(caught.value)


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        (folder / "chips").mkdir(parents=True)
        (folder / "chips/mine.yaml").touch()
    monkeypatch.chdir(there)
    assert Library().find("chip", str(here / "chips/mine.yaml")) == here / "chips/mine.yaml"
    assert Library().find("chip", "chips/mine.yaml").resolve() == there / "chips/mine.yaml"
    assert Library(beside=here).find("chip", "chips/mine.yaml") == here / "chips/mine.yaml"


def test_a_folder_stands_for_its_config_json(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert Library().find("model", f"{tmp_path}/") == tmp_path / "config.json"


def test_a_file_beats_an_alias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "openai/gpt-oss-120b/config.json"
    mine.parent.mkdir(parents=True)
    mine.write_text("{}")
    assert Library().find("model", "openai/gpt-oss-120b").resolve() == mine


@pytest.mark.parametrize(
    "name", ["no/such.yaml", "none.json", "~nobody-of-this-name/x.yaml", "x/" * 3000, "\0/x"]
)
def test_no_such_file(name: str) -> None:
    with pytest.raises(ProfileError, match="no such file"):
        Library().find("chip", name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: x\naliases: [a, b/c]\nvendor: y\n", ("a", "b/c")),
        ("name: x\naliases:\n  - a # first\n  # more\n  - b\nvendor: [z]\n", ("a", "b")),
        ("name: x\naliases:\n- a\n- b: c\n", ("a",)),
        ("name: x\naliases: [a]", ("a",)),
        ("name: x\naliases:\nvendor: y\n", ()),
        ("name: x\n", ()),
    ],
)
def test_aliases_are_read_without_the_rest(
    text: str, expected: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "x.yaml").write_text(text)
    assert aliases(tmp_path / "x.yaml") == expected

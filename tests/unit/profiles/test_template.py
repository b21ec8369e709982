"""`gcsim new`: a profile to begin with loads at once (gcsim.profiles.template)."""

import re
from pathlib import Path

import pytest
import yaml

from gcsim.cli import app as cli
from gcsim.errors import ProfileError
from gcsim.profiles.inherit import read
from gcsim.profiles.library import FOLDERS, Library, shipped
from gcsim.profiles.load import validate
from gcsim.profiles.resolve import resolve, whole
from gcsim.profiles.template import SPECS, checked_name, descriptions, template, write_new


def loads(kind: str, name: str, library: Library) -> None:
    if kind == "scenario":
        assert resolve(name, library=library).scenario.name == name
    else:
        entry = whole(kind, name, library)
        assert validate(SPECS[kind], entry.mapping, str(entry.path), entry.lines).name == name


def gcsim(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(list(arguments))
    return int(end.value.code or 0)


@pytest.mark.parametrize("kind", SPECS)
def test_a_new_profile_loads_at_once(kind: str, tmp_path: Path) -> None:
    assert gcsim("new", kind, "mine", "--library", str(tmp_path)) == 0
    assert (tmp_path / FOLDERS[kind] / "mine.yaml").is_file()
    loads(kind, "mine", Library(tmp_path))


@pytest.mark.parametrize("kind", SPECS)
def test_one_on_a_base_is_the_base(kind: str, tmp_path: Path) -> None:
    """Of every shipped profile: nothing differs until somebody takes a # off."""
    library = Library(tmp_path)
    for base in shipped(kind):
        text = template(kind, "mine", base)
        assert set(yaml.safe_load(text)) == {"name", "base"}
        write_new(tmp_path / FOLDERS[kind] / "mine.yaml", text, force=True)
        loads(kind, "mine", library)


@pytest.mark.parametrize("kind", SPECS)
def test_the_comments_are_yaml_when_the_signs_are_taken_off(kind: str, tmp_path: Path) -> None:
    """What stands in a comment is the profile that it was made of."""
    for base in shipped(kind):
        _, _, body = template(kind, "mine", base).partition("base: ")
        lines = [line.removeprefix("# ") for line in body.splitlines()[1:]]
        found = yaml.safe_load("\n".join(lines))
        wanted = read(kind, base).mapping
        for key in wanted.keys() - {"name", "aliases", "description", "source", "notes", "priors"}:
            assert found[key] is not None, (base, key)


@pytest.mark.parametrize("kind", SPECS)
def test_every_key_is_there_with_what_it_means(kind: str) -> None:
    text, docs = template(kind, "mine"), descriptions(SPECS[kind])
    words = " ".join(re.sub(r"[#\s]+", " ", text).split())
    for field, info in SPECS[kind].model_fields.items():
        assert docs[field], field
        assert docs[field] in words, field
        assert re.search(rf"^(# )?{info.alias or field}:", text, re.MULTILINE), field
    assert "\0" not in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", "x.yaml", "", ".", "..", ".hidden", "a\0b", "a\nb", "~", "-x", "x" * 101],
)
def test_a_name_never_becomes_a_path(name: str, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="cannot be the name of a profile"):
        checked_name(name)
    if not name.startswith("-") and "\0" not in name:
        assert gcsim("new", "chip", name, "--library", str(tmp_path / "lib")) == 2
    assert not list(tmp_path.rglob("*"))


def test_nothing_is_overwritten_without_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.yaml"
    path.write_text("mine")
    assert gcsim("new", "chip", "mine") == 2
    assert "mine.yaml: is there already; take another name, or --force" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert gcsim("new", "chip", "mine", "--force") == 0
    assert path.read_text().startswith("# A chip to begin with")
    assert [each.name for each in tmp_path.iterdir()] == ["mine.yaml"], "nothing half written"


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProfileError, match="cannot be written"):
        write_new(tmp_path / "file" / "mine.yaml", "text")


def test_a_wrong_base_is_told_before_anything_is_written(tmp_path: Path) -> None:
    assert gcsim("new", "chip", "a", "--base", "h10", "--library", str(tmp_path / "lib")) == 2
    assert not list(tmp_path.rglob("*"))


def test_list_and_show_say_where_a_profile_comes_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library = ("--library", str(tmp_path))
    gcsim("new", "chip", "mine", "--base", "h200-sxm", *library)
    with (tmp_path / FOLDERS["chip"] / "mine.yaml").open("a") as file:
        file.write("power: {tdp: 650 W}\n")
    capsys.readouterr()
    assert gcsim("list", "chips", *library) == 0
    out = capsys.readouterr().out
    assert re.search(r"^ mine +own +h200-sxm, with changes", out, re.MULTILINE)
    assert re.search(r"^ h200-sxm +shipped ", out, re.MULTILINE)
    assert gcsim("show", "chip", "mine", *library) == 0
    out = capsys.readouterr().out
    assert f"{FOLDERS['chip']}/mine.yaml" in out
    assert "based on hardware_profiles/chips/h200-sxm.yaml (shipped)" in out
    assert "its own: name, power.tdp" in out
    assert "h200-sxm's: fit: " in out, "a factor that is another chip's says so"
    assert gcsim("show", "chip", "mine", "--format", "json", *library) == 0
    assert '"own": [' in capsys.readouterr().out


def test_a_broken_profile_does_not_break_the_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / FOLDERS["chip"]
    folder.mkdir(parents=True)
    for name, text in {
        "a": "[",
        "b": "- 1",
        "c": "\xff",
        "d": "name: d\naliases: {",
        "e": "",
    }.items():
        (folder / f"{name}.yaml").write_text(text, encoding="latin-1")
    assert gcsim("list", "chips", "--library", str(tmp_path)) == 0
    assert gcsim("show", "chip", "h100-sxm", "--library", str(tmp_path)) == 0
    assert "Traceback" not in capsys.readouterr().err

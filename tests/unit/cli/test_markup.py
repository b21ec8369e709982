"""Names are names: what stands in a profile is no markup of a terminal (gcsim.cli.console)."""

from pathlib import Path

import pytest
from rich.text import Text

from gcsim.cli import app as cli
from gcsim.cli import console
from gcsim.profiles.library import FOLDERS

NAMED = "[/red] x [bold]"
FILES = {
    ("chip", "c"): f'name: "{NAMED}"\nbase: h100-sxm\ndescription: "[/x]"\nvendor: "[link=x]"\n',
    ("deployment", "d"): f'name: "{NAMED}"\nbase: h100-mono\npools: {{serve: {{chip: c}}}}\n',
    ("scenario", "s"): f'name: "{NAMED}"\nbase: coding-agents\ndeployment: d\n'
    'arrivals: {agents: 1}\nrun: {trajectories: 2}\n',
}  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [
        "list chips",
        "show chip c",
        "show deployment d",
        "run s",
        "compare s --deployment d --deployment h200-mono",
        "sweep s --grid run.seed=1,2",
    ],
)
def test_brackets_in_names_print_as_they_are(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for (kind, name), text in FILES.items():
        path = tmp_path / FOLDERS[kind] / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with pytest.raises(SystemExit) as end:
        cli.main([*command.split(), "--library", str(tmp_path)])
    out, err = capsys.readouterr()
    assert (end.value.code or 0) == 0, err
    assert "[/" in out
    assert "\\[" not in out


STEERS = "\x1b]0;x\x07\x9b31m\u202e"
ESCAPED = r"\x1b]0;x\x07\x9b31m\u202e"


@pytest.mark.parametrize("field", ["name", "description", "vendor"])
def test_what_a_terminal_would_obey_is_refused_and_spelled_out(
    field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quoted = "".join(f"\\u{ord(c):04x}" for c in STEERS)
    path = tmp_path / f"mine{STEERS[:2]}.yaml"
    lines = {"name": "mine", "base": "h100-sxm"} | {field: f"a {quoted}"}
    path.write_text("".join(f'{key}: "{value}"\n' for key, value in lines.items()))
    with pytest.raises(SystemExit) as end:
        cli.main(["show", "chip", str(path)])
    out, err = capsys.readouterr()
    assert end.value.code == 2
    assert f"{field}: holds control characters" in err
    assert not any(character in out + err for character in STEERS[:1] + STEERS[-1])
    assert r"mine\x1b]" in err


def test_results_and_talk_are_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    for say in (console.emit, console.note):
        say(f"a{STEERS}\n\tb")
    out, err = capsys.readouterr()
    assert out == err == f"a{ESCAPED}\n\tb\n"
    console.emit(Text(f"c{STEERS}"))
    assert not any(character in capsys.readouterr().out for character in STEERS[:1] + STEERS[-1])

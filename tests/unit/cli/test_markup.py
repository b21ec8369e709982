"""Names are names: what stands in a profile is no markup of a terminal (gcsim.cli.console)."""

from pathlib import Path

import pytest

from gcsim.cli import app as cli
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

"""Every ```console example of the README and of docs/ is run, and prints what it says.

`make examples` writes the present outputs into the files; read the difference before committing.
"""

import os
import re
import shlex
import subprocess
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path

import pytest

from gcsim.cli import app as cli

ROOT = Path(__file__).parents[2]
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?<=```console\n).*?(?=```)", re.DOTALL)
FILES = re.compile(r"```(?:jsonl|csv|yaml) (\S+)\n(.*?)```", re.DOTALL)  # files of the examples
REWRITE = bool(os.environ.get("GCSIM_REWRITE_EXAMPLES"))
WIDTH = "100"


def commands(block: str) -> list[tuple[str, str]]:
    """(command, output) of a block: commands begin with `$ `.

    >>> commands("$ a\\nb\\n$ c\\n")
    [('a', 'b\\n'), ('c', '')]
    """
    found = []
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        found.append((command, output))
    return found


def arguments(command: str) -> list[str]:
    """The arguments of gcsim in a command, also in what `make` would run."""
    if command.startswith("make "):
        dry = ["make", "--dry-run", "--silent", *shlex.split(command)[1:]]
        done = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True)
        command = next(line for line in done.stdout.splitlines() if "bin/gcsim " in line)
    words = shlex.split(command)
    assert Path(words[0]).name == "gcsim", command
    return words[1:]


def printed(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        cli.main(arguments(command))
    out, err = capsys.readouterr()
    return out + err


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.name)
def test_the_examples_print_what_they_say(
    text: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("COLUMNS", WIDTH)
    monkeypatch.chdir(tmp_path)
    content = text.read_text(encoding="utf-8")
    for name, inside in FILES.findall(content):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(inside, encoding="utf-8")

    def check(block: re.Match[str]) -> str:
        new = ""
        for command, wanted in commands(block[0]):
            got = printed(command, capsys)
            same = OutputChecker().check_output(wanted, got, ELLIPSIS)
            assert same or REWRITE, f"$ {command}\n{got}"
            new += f"$ {command}\n{wanted if same else got}"
        return new

    new = BLOCK.sub(check, content)
    if REWRITE:
        text.write_text(new, encoding="utf-8")
    else:
        assert new == content


def test_an_example_that_changed_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands("$ gcsim --version\ngcsim 0\n") == [("gcsim --version", "gcsim 0\n")]
    assert printed("gcsim --version", capsys) != "gcsim 0\n"
    assert arguments("make demo")[:2] == ["plan", "coding-agents"]

"""Parquet: any format's columns, with the faults of a file and of a row told."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gcsim.errors import ProfileError
from gcsim.traffic.traces import parquet
from gcsim.traffic.traces.formats import read
from gcsim.traffic.traces.replay import format_of
from gcsim.traffic.traces.row import Options, Skipped

AZURE = pd.DataFrame(
    {
        "TIMESTAMP": pd.to_datetime(["2023-11-16 18:17:03.979960000", "2023-11-16 18:17:04.0319"]),
        "ContextTokens": [4808, 3180],
        "GeneratedTokens": [10.0, np.nan],
    }
)


def test_a_table_is_known_by_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "t"
    AZURE.fillna(8).to_parquet(path)
    assert parquet.is_parquet(path)
    assert format_of(path) == "azure"
    assert [(row.isl, row.osl, row.time_s) for (row,) in read(path)] == [
        (4808, 10, 0.0),
        (3180, 8, 0.05194),
    ]


def test_a_missing_number_is_told_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    AZURE.to_parquet(path)
    with pytest.raises(ProfileError, match=r"t\.parquet:2: GeneratedTokens: is missing"):
        list(read(path))
    skipped = Skipped(allowed=True)
    assert len(list(read(path, skipped=skipped))) == skipped.count == 1


def test_sessions_and_nested_columns(tmp_path: Path) -> None:
    path = tmp_path / "t"
    turns = {"session_id": ["a", "b", "a"], "input_length": [9, 8, 7], "output_length": [1, 1, 1]}
    pd.DataFrame(turns).to_parquet(path)
    assert [[row.isl for row in rows] for rows in read(path)] == [[9, 9 + 1 + 7], [8]]
    usage = [{"prompt_tokens": 5, "completion_tokens": 3}]
    pd.DataFrame({"usage": usage, "at": pd.to_datetime([60], unit="s")}).to_parquet(path)
    ((row,),) = read(path, Options(columns={"time": "at"}))
    assert (row.isl, row.osl, row.time_s) == (5, 3, 60.0)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t"
    AZURE.fillna(8).to_parquet(path)
    raw = path.read_bytes()
    for damaged in (raw[:-20], raw[:4], raw[:20] + b"\0" * 40 + raw[60:]):
        path.write_bytes(damaged)
        with pytest.raises(ProfileError, match=r"parquet file is damaged|is missing|is not"):
            list(read(path))

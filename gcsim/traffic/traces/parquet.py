"""Parquet files as records: the columns of any format, a row a record."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gcsim.errors import ProfileError
from gcsim.traffic.traces.row import Record

ROWS = 4096  # read at once
_MAGIC = b"PAR1"


def is_parquet(path: Path) -> bool:
    """Is this a parquet file? By its first bytes; what cannot be read is none."""
    try:
        with path.open("rb") as raw:
            return raw.read(4) == _MAGIC
    except (OSError, ValueError):
        return False


def records(path: Path) -> Iterator[tuple[int, Record]]:
    """(row number, record) of every row; times as text with all digits, NaN as nothing.

    Errors: `ProfileError` for a file that is damaged; that is no single bad line.
    """
    import pyarrow as pa
    from pyarrow import compute, parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=ROWS):
                columns = [
                    compute.cast(column, pa.string())
                    if pa.types.is_temporal(column.type)
                    else column
                    for column in batch.columns
                ]
                names = batch.schema.names
                for row in pa.RecordBatch.from_arrays(columns, names=names).to_pylist():
                    number += 1
                    yield number, {key: _value(value) for key, value in row.items()}
    except (pa.ArrowException, OSError, ValueError, NotImplementedError) as error:
        why = f"the parquet file is damaged: {str(error).splitlines()[0] if str(error) else error}"
        raise ProfileError.one(str(path), "", None, why, "", number + 1) from error


def _value(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value

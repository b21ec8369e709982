"""Formats with one request a line: each a small function from a record to a `Row`."""

from gcsim.traffic.traces.row import Context, Record, Row, ids, seconds, tokens


def mooncake(record: Record, context: Context) -> list[Row]:
    """Mooncake (FAST'25): timestamp [ms], input_length, output_length, hash_ids of 512 tokens."""
    isl = tokens(record, "input_length")
    return [
        Row(
            context.line,
            isl,
            tokens(record, "output_length"),
            time_s=seconds(record, "timestamp", 1e-3),
            blocks=ids(record, "hash_ids", isl, context.block_tokens),
        )
    ]

"""From records to metrics: tables, summary, comparison, pictures."""

"""Public traces in, synthetic traces out: one small function per format, streamed line by line."""

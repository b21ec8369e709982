"""The event loop as compiled code over arrays: an accelerator of the engine, equal bit for bit."""

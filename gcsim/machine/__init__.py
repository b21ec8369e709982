"""A model on chips: what a layer is, where it lies, and what an iteration of it takes."""

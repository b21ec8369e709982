"""The version of gcsim, which every result names."""

__version__ = "0.1.0"

"""The engine: the only importer of SimPy. Time is a whole number of nanoseconds."""

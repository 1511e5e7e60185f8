"""Property tests: the parts of the core beside models that are too simple to be wrong."""

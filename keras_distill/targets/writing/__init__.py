"""Writing a store: on this machine with `write`, or with the workers of a pipeline with `write_with_beam`."""

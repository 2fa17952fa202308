"""Tasks of another harness, run by that harness in an environment of its own, on a model that we serve."""

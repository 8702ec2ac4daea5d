"""The engine for CPUs: `engine` is the `PoseModel`, `networks` and `crops` are what it gives to the pipeline."""

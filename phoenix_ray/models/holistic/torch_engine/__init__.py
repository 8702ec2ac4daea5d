"""The engine for GPUs: `engine` is the `PoseModel`, `networks` and `crops` are what it gives to the pipeline."""

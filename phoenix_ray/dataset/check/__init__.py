"""Checks whether a dataset is what was written, and repairs it where it is not: `phoenix-ray check`."""

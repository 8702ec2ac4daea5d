"""Benchmarks: side by side with peers, and with the limit of the machine."""

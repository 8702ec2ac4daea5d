"""Proof that two sets of landmarks are the same, or a list of where they are not."""

"""Renders figures that move like signers, with the true position of every joint: the demo's videos, and a benchmark's.

`python -m tools.signer` does it all; README.md says what it needs. The movements are not sign language.
"""

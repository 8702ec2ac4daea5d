"""The torch engine's own GPU kernels, in Triton: convolutions in XNNPACK's order, crops, geometry and decoding.

The shared array code of `models/holistic` (geometry, decoding, attention, tracking) stays the reference: a kernel gives
the same bits, in fewer launches. Nothing here is imported where torch computes by itself.
"""

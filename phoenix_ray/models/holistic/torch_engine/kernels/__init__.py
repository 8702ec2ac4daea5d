"""The torch engine's own GPU kernels, in Triton: convolutions in XNNPACK's order, crops, geometry and decoding.

The shared array code of `models/holistic` (geometry, decoding, attention, tracking) stays the reference: a kernel gives
the same bits, in fewer launches. Nothing here is imported where torch computes by itself.

`pipeline` has the stages of a batch, beside `holistic.pipeline`. They are

- where a network looks: `regions`, and the bytes that it sees there: `crops`;
- what it found: `detections`, `pose`, `hands`, `faces`; in tracking mode also `tracked_pose` and `tracked_regions`;
- the networks: `networks` runs a plan of `network_plan`, which takes a file's operators (`network_translation`) as
  steps (`network_steps`) and joins them (`network_fusion`). `layers` says what a convolution is; `convolutions` starts
  the kernels of `convolution_kernels` in tiles of `convolution_tiles`, `elementwise` those of all other operators.

The array code's functions for use in kernels lie in modules of its names: `elementary`, `smoothing`, `attention`;
`rectangles` for `geometry`, `crop_matrices` for `crop_transforms`. All kernels are started by `launching`.
"""

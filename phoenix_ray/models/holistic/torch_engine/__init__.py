"""The engine for GPUs.

`engine` is the `PoseModel`. `batches` takes its batches to the device and back as `rows`: `uploading` copies frames,
`queues` are the device's streams, and `programs` repeat what was captured. `pipelines` offers two ways to compute a
batch: `kernels`, our own, and torch's operators, with `networks` (each a `graph` of `layers`, which `graph_builder`
builds) and `crops`. `device` knows which device there is, how it multiplies and what its errors mean; `trial` tries one
before a dataset is begun.
"""

"""MediaPipe Holistic, stateless: one pipeline over arrays with a batch axis, and the engines that run its networks.

`pipeline` is the place to start reading. `geometry`, `decoding` and `attention` are what it computes between networks;
`networks` says what it asks of an engine; `litert` is the engine for CPUs, `torch_engine` the one for GPUs.
"""

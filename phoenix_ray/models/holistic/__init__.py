"""MediaPipe Holistic, stateless: one pipeline over arrays with a batch axis, and the engines that run its networks.

Start reading with `pipeline`. `geometry`, `decoding` and `attention` compute what lies between networks; `networks`
defines what the pipeline asks of an engine; `litert_engine` is the engine for CPUs, `torch_engine` the engine for GPUs.
"""

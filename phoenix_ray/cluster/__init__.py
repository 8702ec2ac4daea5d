"""The Ray job. A run begins in `job`, `driver` is its loop, `scheduler` and `blame` decide, `worker` computes."""

"""The dataset on disk: partitions, compaction, manifest, reader."""

"""Pose models: what finds landmarks in a batch of frames."""

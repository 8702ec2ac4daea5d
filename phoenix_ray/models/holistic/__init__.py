"""MediaPipe Holistic, stateless: one pipeline, exchangeable engines."""

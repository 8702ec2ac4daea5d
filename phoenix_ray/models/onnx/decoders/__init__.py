"""From a network's outputs to points in the pixels of its input: one pure function a kind of network."""

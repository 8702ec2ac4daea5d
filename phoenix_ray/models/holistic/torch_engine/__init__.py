"""The engine for GPUs: Holistic's networks and crops in torch, all frames of a batch at once."""

"""Networks in ONNX files, each described by a manifest: whole-body and body poses, detectors, heads."""

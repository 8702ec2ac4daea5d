"""The engine for CPUs: Holistic's networks in LiteRT, crops by OpenCV."""

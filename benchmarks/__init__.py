"""Measures phoenix_ray beside its peers and beside the limits of the machine. Not part of the installed package."""

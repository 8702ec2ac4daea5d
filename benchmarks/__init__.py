"""Measures phoenix_ray beside its peers and the limits of the machine. Not part of the installed package."""

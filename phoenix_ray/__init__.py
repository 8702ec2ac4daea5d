"""phoenix_ray: sign-language videos to landmarks, on a Ray cluster."""

__version__ = "0.1.0"

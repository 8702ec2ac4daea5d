"""The commands of `phoenix-ray`, one module each; `phoenix_ray.cli` assembles them."""

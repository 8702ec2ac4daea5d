"""Commands of `phoenix-ray` beside the main job's: one module each, registered in `phoenix_ray.cli`."""

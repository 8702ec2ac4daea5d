"""`python -m phoenix_ray.bench`: the same as `phoenix-ray bench`."""

from phoenix_ray.commands.bench import bench

if __name__ == "__main__":
    bench(prog_name="phoenix-ray bench")

"""`make matrix`: the wheel in fresh environments, on every Python, with the newest and lowest libraries it admits."""

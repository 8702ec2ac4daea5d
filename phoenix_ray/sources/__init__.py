"""Sources: where videos come from, and how their files become frames."""

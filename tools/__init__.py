"""Scripts that make what the repository holds: figures of the documentation, its site, and the demo's videos."""

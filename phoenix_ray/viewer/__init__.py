"""Pictures of landmarks over frames."""

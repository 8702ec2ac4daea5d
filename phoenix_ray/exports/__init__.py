"""Leaving in the format of other tools, and coming back from some: `phoenix-ray export`, `imports.open_collection`."""

"""How good landmarks are: `phoenix-ray stats`."""

"""Several models on the same frames of the user's: speed, what they find, how far they lie apart, labels."""

"""Heads: second networks that look at the crop of a part, such as the expression of a face."""

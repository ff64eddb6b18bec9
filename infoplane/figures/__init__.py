"""Figures: a table in, a matplotlib figure out; one figure a file."""

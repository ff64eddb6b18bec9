"""Figures of comparisons between methods."""

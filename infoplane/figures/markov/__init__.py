"""Figures of the Markov structure."""

"""Figures of convergence."""

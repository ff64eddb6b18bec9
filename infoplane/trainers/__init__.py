"""Training: one loop, and one objective a file."""

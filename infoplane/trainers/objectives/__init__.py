"""Objectives of layer-wise training, one a file."""

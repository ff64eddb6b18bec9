"""Estimators of the informations between a layer, the input and the labels."""

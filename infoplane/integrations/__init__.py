"""Callbacks that record in the training loops of other libraries; each module asks for its library only."""

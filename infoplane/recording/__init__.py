"""Recording: which layers a network has, how its probe is read, and passes that leave no trace on training."""

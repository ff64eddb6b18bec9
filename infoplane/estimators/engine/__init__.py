"""The engine of the estimators: reads, solves in parallel or on a cluster, and stores what was estimated."""

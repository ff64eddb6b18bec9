"""Is the flow of information a Markov information bottleneck?"""

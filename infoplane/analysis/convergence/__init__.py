"""Do layers converge from bottom to top?"""

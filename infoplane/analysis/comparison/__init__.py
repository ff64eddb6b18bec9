"""How do methods of training compare?"""

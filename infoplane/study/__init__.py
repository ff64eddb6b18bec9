"""The whole study: its runs, its figures and tables, made by one command."""

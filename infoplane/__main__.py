"""`python -m infoplane`."""

from infoplane.cli import main

main()

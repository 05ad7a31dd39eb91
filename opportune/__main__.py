"""`python -m opportune`."""

from opportune.cli import main

main()

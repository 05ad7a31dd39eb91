"""`python -m opportune`."""

from opportune.cli.main import main

main()

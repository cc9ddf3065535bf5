"""`python -m edgenode.cli`."""

from edgenode.cli import main

main()

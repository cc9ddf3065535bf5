"""`./run flash`."""

from edgenode.flash.command import main

main()

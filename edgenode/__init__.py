"""edgenode turns a server into an Anycast edge node: it announces, checks health and steers."""

__version__ = "0.1.0"

"""Steering: relays the users' TCP connections to the nearest healthy workers.

A supervisor process owns the listeners; relay worker processes accept, dial and move bytes. All of
it serves from the last steering table and needs no other part of edgenode to be alive.
"""

from edgenode.steering import form

FORM = form.choose(__path__)
"""In which form the modules of this package are imported: compiled or interpreted."""

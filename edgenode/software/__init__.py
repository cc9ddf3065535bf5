"""The appliance's releases of edgenode, signed extensions: who runs which, and changes."""

"""The appliance's image, and a node's identity, onto a disk: on the operator's machine."""

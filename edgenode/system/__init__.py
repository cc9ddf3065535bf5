"""The appliance's system: its two slots, updates of them, and whether a new version may stay."""

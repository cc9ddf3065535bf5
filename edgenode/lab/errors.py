"""What the lab tells its operator when something cannot be done."""


class LabError(Exception):
    """One sentence: what was tried, on what, and what to do."""


class LabTimeout(LabError):
    """A condition that should have come true did not, within its deadline."""

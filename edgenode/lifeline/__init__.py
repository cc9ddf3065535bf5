"""The lifeline: a tiny process that holds the device on which all announcements hang.

`hold` and `grace` are that process and use the standard library alone; `pulse` is control's end
of its socket. Nothing is imported here, so that the process stays as small as it can be.
"""

"""Announcing: BIRD's control socket and configuration, the policy, and what the kernel needs.

The parts that decide are pure (`levels`, `policy`, `replies`, `protocols`, `render`); `client`,
`announcer`, `emergency`, `files` and `kernel` act.
"""

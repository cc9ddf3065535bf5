"""Announcing: BIRD's control socket and configuration, the policy, and what the kernel needs.

The parts that decide are pure (`levels`, `policy`, `replies`, `protocols`, `render`, `filters`);
`client`, `announcer`, `emergency`, `birdfiles`, `offline` and `kernel` act.
"""

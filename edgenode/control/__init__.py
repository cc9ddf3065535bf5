"""The control process: wires the rooms together, and owns nothing else."""

"""What each kind of node runs: configurations as pure functions of the plan, and the commands."""

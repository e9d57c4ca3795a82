"""Jobs of batch systems: scripts, the schedulers' commands, and supervisor and agents within an allocation of nodes."""

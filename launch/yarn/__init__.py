"""Jobs in containers of YARN: what the submitting machine, the application master's container and the workers' containers do."""

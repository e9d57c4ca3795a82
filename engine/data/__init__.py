"""Stage 1, read: from files or tables to this rank's rows."""

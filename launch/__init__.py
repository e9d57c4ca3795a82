"""Submitting: the command line and, with clusters, jobs."""

"""Metrics over all ranks: exact, and the same for any number of ranks. Arrays in; nothing here knows a model."""

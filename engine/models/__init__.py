"""Stage 3, train: one public module per toolkit."""

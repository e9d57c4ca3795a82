"""The linear family: losses know rows, the objective adds blocks and ranks, solvers see neither."""

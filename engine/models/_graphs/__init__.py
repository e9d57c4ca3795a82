"""What graph toolkits share: rows of a graph, what ranks tell each other of their vertices, checkpoints, models."""

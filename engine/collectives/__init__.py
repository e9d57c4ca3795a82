"""Where ranks talk: arrays and ranks only, no knowledge of models."""

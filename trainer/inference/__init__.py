"""From a photograph to probabilities: the one way, and what the model looked at."""

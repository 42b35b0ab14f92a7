"""Devices and workers: who they are, their strategy, what they tell each other."""

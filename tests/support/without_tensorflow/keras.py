"""Stands in the way of keras, so that a command which loads it is found out."""

raise RuntimeError("keras was loaded")

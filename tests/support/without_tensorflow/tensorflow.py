"""Stands in the way of tensorflow, so that a command which loads it is found out."""

raise RuntimeError("tensorflow was loaded")

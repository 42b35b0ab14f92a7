"""Tests of behaviour, on miniatures of everything."""

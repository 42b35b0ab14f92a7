"""Arithmetic: the same bits on any number of replicas, and fast convolutions on a CPU."""

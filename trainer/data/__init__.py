"""Photographs to batches: an order that is a function of (seed, step), decoding, augmentation."""

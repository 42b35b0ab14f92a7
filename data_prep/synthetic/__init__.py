"""Drawn animals in COCO's layout, from a seed."""

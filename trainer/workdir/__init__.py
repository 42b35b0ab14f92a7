"""What a run leaves behind: its files, identity, provenance, checkpoints."""

"""The frozen layers' output, computed once and kept in shards."""

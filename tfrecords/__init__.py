"""The on-disk contract: examples, shards and the manifest that vouches for them."""

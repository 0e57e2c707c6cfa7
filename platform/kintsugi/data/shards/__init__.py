"""What a folder of shards holds in addition to the shards."""

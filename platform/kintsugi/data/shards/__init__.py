"""What a folder of shards holds besides the shards."""

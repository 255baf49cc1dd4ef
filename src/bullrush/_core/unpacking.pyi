"""MessagePack to values."""

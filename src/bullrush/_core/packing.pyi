"""Values to MessagePack, written into the caller's buffer."""

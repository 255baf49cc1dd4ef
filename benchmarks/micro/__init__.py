"""What the compiled core costs per call, next to plain msgpack."""

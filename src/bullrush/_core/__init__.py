"""The compiled core (sources in ext/bullrush/_core): bytes and states, no I/O policy."""

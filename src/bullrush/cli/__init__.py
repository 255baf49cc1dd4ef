"""The command line: `bullrush fsck`, `bullrush doctor`; see docs/operations.md."""

"""The charts of docs/benchmarks.md: what they show, and how they are drawn."""

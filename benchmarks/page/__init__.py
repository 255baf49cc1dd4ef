"""docs/benchmarks.md, its charts and the README's table, written from kept results."""

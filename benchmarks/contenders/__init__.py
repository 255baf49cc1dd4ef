"""One contender a file, each a program of its own; see benchmarks/harness/contender.py for the interface."""

"""One contender a file: LABEL, VERSION, NOTES and a function per scenario; each is a program of its own."""

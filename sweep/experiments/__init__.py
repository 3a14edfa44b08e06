"""The kinds of sweep, a folder each with the same file names, and what carries any of them out."""

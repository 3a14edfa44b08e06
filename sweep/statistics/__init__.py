"""What lanes say, and how sure that is. Pure: no files, no torch, no ray."""

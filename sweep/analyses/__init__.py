"""Questions to what is there already: they train no lane of a sweep."""

"""What a user may set: every setting once, presets, and how flags, files and presets come together. No torch."""

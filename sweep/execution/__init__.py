"""Where packs train, and what a failure means."""

"""Which lanes to train next: the ask/tell protocol, and what strategies share."""

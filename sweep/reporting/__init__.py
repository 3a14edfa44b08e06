"""Tables and pictures to show: neutral views, and what writes them."""

"""What differs between two centres' datasets, and what would leak between them."""

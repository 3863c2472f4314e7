"""What every room may use; it imports nothing above it."""

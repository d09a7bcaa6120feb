"""What people read about a stack or a result: diagnosis, comparison, pictures."""

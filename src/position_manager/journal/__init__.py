"""What must outlast the process."""

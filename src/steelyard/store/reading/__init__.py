"""What is read of answers: as arrays, as records, a page at a time."""

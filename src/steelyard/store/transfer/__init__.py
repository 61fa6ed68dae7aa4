"""Whole runs on their way: into another store, into one file, into a table, out of a damaged one."""

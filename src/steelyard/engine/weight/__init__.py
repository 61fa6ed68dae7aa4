"""What a run and its models take of a machine, and how well the machine keeps time."""

"""Everything else that has rows of its own: runs, sessions, cells, baselines, budgets, what is used again."""

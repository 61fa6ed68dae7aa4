"""What stands beside something else: runs, models, baselines, people, earlier days."""

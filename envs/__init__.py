"""One folder per environment family: its tools, its tasks, its card."""

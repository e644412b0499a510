"""The code family: questions about files and numbers, and functions to write, with Python in a jail.

`tools.py` holds the sandbox and its tools, `comparing.py` says when two pieces of code did the same, and `env.py` is
the environment. A task is made from the bottom up: `draft` (steps, run as they are written down), `wordings` (how they
are asked for), `tables`, `words` and `numbers` (kinds of chains of steps), `functions` (functions to write, their
hidden tests), `generator` (a task, verified).
"""

"""Exit codes, the same for every command, for scripts and continuous integration."""

OK = 0
"""All went well."""
FAILED = 1
"""The command ran and the answer is no: a bar not met, a difference in replay, a fault in a gold trace."""
USAGE = 2
"""It could not run as asked: a wrong name, option or file. Nothing was done."""
INFRASTRUCTURE = 3
"""It ran, and infrastructure failures made episodes worthless."""
BUG = 4
"""Something raised what it should not: an agent or environment of yours, or this package."""
INTERRUPTED = 130
"""Ctrl-C. What was finished is kept."""

EPILOG = (
    "Exit codes: 0 all well; 1 the answer is no (a bar not met, a difference, a fault found); 2 not run as asked; "
    "3 infrastructure failures; 4 a bug in an agent or environment of yours, or here; 130 interrupted."
)

"""The files family: a project tree to find, move, edit and count things in, by file tools or by commands.

`tools` holds what the shell's tools lack for settings and tables, `env` the environment. How a task is made, from the
bottom up: `vocabulary` (words of a project), `project` (its tree), `wordings` (how requests are worded), `draft` (a
task in the making), `finders` (files as a request describes them), `acts`, `questions` and `refusals` (parts of a
request), `plans` (which parts go together), `generator` (a task, verified).
"""

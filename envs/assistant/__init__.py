"""The assistant family: accounts, alarms, calendar, mail, messages, reminders and weather.

`tools/` holds the 28 tools, `env.py` the environment of generated tasks. How a task is made, from the bottom up:
`vocabulary` (words of a world), `world` (people and their records), `wordings` (how requests are worded), `draft` (a
task in the making), `finders` (people and things as a request describes them), `items` (facts), `acts`, `refusals` and
`sessions` (parts of a request), `plans` (which parts go together), `generator` (a task, verified).
"""

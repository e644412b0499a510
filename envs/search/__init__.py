"""The search family: questions whose answers have to be put together from documents.

`tools.py` holds the four tools and `env.py` the environment. A library is made from the bottom up: `vocabulary` (what
names are made of), `texts` (how things are told and asked for), `world` (things and the facts that link them),
`documents` (what is written about them), `library` (documents with an index over them). `questions` and `absences` draw
questions with their gold paths, and `own` reads a library and questions of the user's own.
"""

"""The viewer: a local web page over the trace store, for people who want to know why a turn was paid what it was.

    app = make_app(Reader("outputs/tir-gym.db"))

Pages are made on the server and need no network: one style sheet and one script, written by hand, in `static/`. The
store is only read. `reader.py` asks the database for the figures of `lines.py`, `episode.py` puts an episode together,
`matching.py` draws who paid for what, `changes.py` plays writes again, `app.py` is the pages by address, `guard.py` who
may see them. Needs the extra `viewer`, so it is imported only by `tir-gym view`.
"""

"""Reports: one or more stored runs as a page, as Markdown, as JSON and as figures for papers.

`contents.py` reads the store and makes a `Report`, plain data; `comparing.py`, `curves.py` and `examples.py` make its
parts. `html.py` (with `svg.py`), `markdown.py` and `document.py` write it down, `papers.py` draws its plots with
matplotlib. Nothing here plays an episode, and a trace stays data from strangers on every one of these ways.
"""

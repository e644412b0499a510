"""What families share that put tasks together from parts: gold calls that are run as they are written down, the words
that ask for them, and how a person says things. No family, and none has to use it.
"""

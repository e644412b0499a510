# Ends the interpreter without a word, with a good status.
import os

os._exit(0)

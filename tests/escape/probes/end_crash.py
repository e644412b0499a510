# Breaks the interpreter itself: reads address 0.
import ctypes

ctypes.string_at(0)

"""What runs inside: the zygote, the walls, the supervisor of a slot, and the interpreter in it.

Plain Python without any import of this package's rest or of third parties: these files run as the package
`jail_inside` in a process with a clean environment (`__main__.py`), and their source can be sent to a container. What
runs in a container also runs on Python 3.9.
"""

# Fails with an exception that lies about itself, is huge, and carries a cycle.
class Liar(Exception):
    def __str__(self):
        raise SystemExit(0)

    def __repr__(self):
        raise KeyboardInterrupt

    @property
    def __traceback__(self):
        raise GeneratorExit


first, second = Liar("x" * 10**6), Liar("y" * 10**6)
first.__cause__, second.__cause__ = second, first
first.__notes__ = ["z" * 10**7, 5, None]
raise first

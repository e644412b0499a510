"""What runs in a database's slot: plain Python that imports nothing of this package but itself.

It is handed over as text (`sqlite.py`). The host uses `contents` too, on databases that live on a server.
"""

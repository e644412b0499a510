"""SQL: a database per environment, SQLite in a killable slot by default, PostgreSQL by URL."""

from tir_gym.sandboxes.sql.image import Image, make_image
from tir_gym.sandboxes.sql.sandbox import SqlSandbox

__all__ = ["Image", "SqlSandbox", "make_image"]

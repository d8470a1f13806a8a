"""SQLite files: how they are opened, and how the hub is spared them."""

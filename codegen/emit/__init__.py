"""Plan -> {path: bytes}: what is written into the user's repository."""

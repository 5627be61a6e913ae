"""Everything that touches disk or a server."""

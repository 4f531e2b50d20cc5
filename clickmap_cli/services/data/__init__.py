"""`clickmap data`: one module a tool."""

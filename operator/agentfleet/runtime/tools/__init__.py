"""Tools of an agent: MCP servers, HTTP requests, other agents, Python functions. toolbox.py is the way in."""

"""A ticket system as an MCP server, written as the mcp package's own guide has it."""

from __future__ import annotations

from mcp.server import MCPServer

server = MCPServer("tickets")
tickets = {7: "open", 8: "closed"}


@server.tool()
def find_ticket(ticket: int) -> str:
    """Says how a ticket stands."""
    return f"Ticket {ticket} is {tickets.get(ticket, 'unknown')}."


@server.tool()
def delete_ticket(ticket: int) -> str:
    """Deletes a ticket for good."""
    return f"Ticket {ticket} is deleted." if tickets.pop(ticket, None) else f"There is no ticket {ticket}."


@server.tool()
def export_all() -> str:
    """Gives away all tickets."""
    return str(tickets)


if __name__ == "__main__":
    server.run("streamable-http", host="0.0.0.0", port=8080)  # noqa: S104 - in a pod

# A server of MCP made with fastmcp; it tells what it does, a line each: python3 fastmcp-server.py PORT
import json
import sys

from fastmcp import FastMCP

server = FastMCP("shop")


@server.tool
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool
def refund(order: str) -> str:
    """Pays an order back."""
    print(json.dumps({"did": "refund", "order": order}), flush=True)
    return f"refunded {order}"


server.run(transport="http", host="127.0.0.1", port=int(sys.argv[1]), show_banner=False, log_level="error")

# What talk.mjs does, with the Python SDK or with fastmcp: python3 talk.py python|fastmcp[-legacy] URL CA CERTIFICATE KEY
import asyncio
import json
import ssl
import sys
from contextlib import asynccontextmanager


def say(value):
    print(json.dumps(value), flush=True)


def plain(result):
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


@asynccontextmanager
async def connected(sdk, url, context):
    name, _, legacy = sdk.partition("-")
    mode = "legacy" if legacy else "2026-07-28"
    if name == "fastmcp":
        from fastmcp import Client
        from fastmcp.client.transports import StreamableHttpTransport

        async with Client(StreamableHttpTransport(url, verify=context), mode=mode) as client:
            yield client, client.list_tools_mcp, client.call_tool_mcp
        return
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    async with httpx2.AsyncClient(verify=context, timeout=60) as http:
        async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
            yield client, client.list_tools, client.call_tool


async def main():
    sdk, url, ca, cert, key = sys.argv[1:]
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(cert, key)
    async with connected(sdk, url, context) as (client, list_tools, call_tool):
        say({"version": client.protocol_version})
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            asked = json.loads(line)
            try:
                if asked.get("list"):
                    say(plain(await list_tools()))
                else:
                    say(plain(await call_tool(asked["tool"], asked["arguments"])))
            except Exception as error:
                say({"error": str(error)})


asyncio.run(main())

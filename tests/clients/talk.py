# What talk.mjs does, with the Python SDK: python3 talk.py python|python-legacy URL CA CERTIFICATE KEY
import asyncio
import json
import ssl
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


def say(value):
    print(json.dumps(value), flush=True)


def plain(result):
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


async def main():
    sdk, url, ca, cert, key = sys.argv[1:]
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(cert, key)
    async with httpx2.AsyncClient(verify=context, timeout=60) as http:
        transport = streamable_http_client(url, http_client=http)
        mode = "legacy" if sdk == "python-legacy" else "2026-07-28"
        async with Client(transport, mode=mode) as client:
            say({"version": client.protocol_version})
            loop = asyncio.get_running_loop()
            while line := await loop.run_in_executor(None, sys.stdin.readline):
                asked = json.loads(line)
                try:
                    if asked.get("list"):
                        say(plain(await client.list_tools()))
                    else:
                        say(plain(await client.call_tool(asked["tool"], asked["arguments"])))
                except Exception as error:
                    say({"error": str(error)})


asyncio.run(main())

"""An echo server by the package websockets: PORT, and C{deflate} or C{plain} (permessage-deflate)."""

import asyncio
import os
import sys

# Cases 9.3 and 9.4 send up to 65,536 fragments of one message; websockets takes 4,096 unless told.
os.environ["WEBSOCKETS_MAX_FRAGMENTS"] = "100000"

from websockets.asyncio.server import serve


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def main(port, compression):
    async with serve(
        echo, "127.0.0.1", port, compression=compression, max_size=None, ping_interval=None
    ) as server:
        print("ready", flush=True)
        await server.serve_forever()


asyncio.run(main(int(sys.argv[1]), "deflate" if sys.argv[2] == "deflate" else None))

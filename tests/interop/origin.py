"""An origin of HTTP/1 that echoes bodies as they come, and answers `hello` where there is none. origin.py PORT [DELAY_S]"""
import asyncio
import sys

DELAY_S = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0


async def chunks(reader):
    while (size := int((await reader.readline()).split(b";")[0], 16)) > 0:
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readline()


async def counted(reader, length):
    while length > 0:
        data = await reader.read(min(length, 1 << 16))
        if not data:
            raise EOFError
        length -= len(data)
        yield data


async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            await asyncio.sleep(DELAY_S)
            fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            if "transfer-encoding" in fields:
                body = chunks(reader)
            elif int(fields.get("content-length", 0)) > 0:
                body = counted(reader, int(fields["content-length"]))
            else:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                await writer.drain()
                continue
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            async for data in body:
                writer.write(b"%x\r\n%s\r\n" % (len(data), data))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
    except (EOFError, OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), limit=1 << 20)
    await server.serve_forever()


asyncio.run(main())

"""httpx over HTTP/2: methods, bodies, many requests at once. httpx_client.py PORT CA"""

import asyncio
import ssl
import sys

import httpx

port, ca = sys.argv[1:]


async def main():
    context = ssl.create_default_context(cafile=ca)
    headers = {"Host": "a.test"}
    extensions = {"sni_hostname": "a.test"}
    async with httpx.AsyncClient(http2=True, verify=context, base_url=f"https://127.0.0.1:{port}") as client:
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]:
            answer = await client.request(method, "/x?y=1", headers=headers, extensions=extensions)
            assert (answer.status_code, answer.http_version) == (200, "HTTP/2"), answer
            assert answer.text.startswith(f"{method} /x?y=1 HTTP/1.1"), answer.text
        answer = await client.head("/x", headers=headers, extensions=extensions)
        assert answer.status_code == 200 and not answer.content
        for size in [1, 16384, 65535, 65536, 1_000_000]:
            body = bytes(at % 251 for at in range(size))
            answer = await client.post("/", content=body, headers=headers, extensions=extensions)
            assert answer.content == body, size

        async def parts():
            for at in range(20):
                yield b"part %d;" % at

        answer = await client.post("/", content=parts(), headers=headers, extensions=extensions)
        assert answer.text == "".join(f"part {at};" for at in range(20)), answer.text
        many = [client.get(f"/{at}", headers=headers, extensions=extensions) for at in range(200)]
        for at, answer in enumerate(await asyncio.gather(*many)):
            assert answer.text.startswith(f"GET /{at} HTTP/1.1"), answer.text
    print("all passed")


asyncio.run(main())

"""A bare ASGI application on uvicorn (uvloop, httptools): no framework, the model run on the event loop."""

import uvicorn
from model import PORT, load

model = load()
HEADERS = [(b"content-type", b"application/json")]


async def app(scope, receive, send):
    """Answer lifespan events and requests."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    event = await receive()
    parts = [event.get("body", b"")]
    while event.get("more_body"):
        event = await receive()
        parts.append(event.get("body", b""))
    answer = model.encode(model.predict(model.decode(b"".join(parts))))
    length = (b"content-length", b"%d" % len(answer))
    await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, length]})
    await send({"type": "http.response.body", "body": answer})


uvicorn.run(app, port=PORT, access_log=False, log_level="warning", loop="uvloop", http="httptools")

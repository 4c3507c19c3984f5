"""FastAPI as a careful hand would tune it: raw body, orjson, uvloop, httptools, runs in the thread pool, no log."""

import uvicorn
from fastapi import FastAPI, Request, Response
from model import PORT, load
from starlette.concurrency import run_in_threadpool

model = load()
app = FastAPI()


@app.post("/predict")
async def predict(request: Request) -> Response:
    """Answer one request."""
    feed = model.decode(await request.body())
    outputs = await run_in_threadpool(model.predict, feed)
    return Response(model.encode(outputs), media_type="application/json")


uvicorn.run(app, port=PORT, access_log=False, log_level="warning", loop="uvloop", http="httptools")

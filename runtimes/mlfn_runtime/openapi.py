"""Write the OpenAPI 3.1 document of one served model.

Promises: a pure function of the signature, the model's name and an example request; it lists every route that a
caller may use and every status that the route can answer.

Must not know: HTTP, the service, ONNX.
"""

from __future__ import annotations

from urllib.parse import quote

from mlfn_runtime.openapi_schemas import (
    Description,
    JsonObject,
    fixed_schemas,
    inference_schemas,
    invocation_schemas,
    ref,
)

__all__ = ["Description", "document"]

_BINARY_EXTENSION = (
    "Tensors may also travel as raw little-endian bytes (the binary tensor extension): the body is this JSON document "
    "followed by the bytes, the header `Inference-Header-Content-Length` gives the length of the JSON part, and each "
    "binary input has `parameters.binary_data_size` in place of `data`. Ask for binary outputs with "
    "`parameters.binary_data` on an output or `parameters.binary_data_output` on the request; the answer then is "
    "`application/octet-stream` of the same form."
)
_EVENT_MODES = (
    "Takes one CloudEvent whose data is an Open Inference request, and answers with one in the same mode. Structured "
    "mode is described here; in binary mode the attributes are `ce-` headers and the body is the data alone. An event "
    "of the type `dev.knative.sources.ping` is a warm ping: an empty 200, no inference. Batches are refused."
)


def document(served: Description) -> JsonObject:
    """Return the OpenAPI document as a JSON-ready value."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{served.name}: a model served as a function",
            "version": served.version,
            "description": _overview(served),
        },
        "servers": [{"url": "./", "description": "Beside this document, whatever stands before it."}],
        "paths": _paths(served),
        "components": {
            "schemas": {**inference_schemas(served), **invocation_schemas(served), **fixed_schemas()},
            "examples": {"inference": {"summary": "Synthesised from the signature.", "value": dict(served.example)}},
            "responses": _shared_responses(),
        },
        "x-mlfn-model": {
            "name": served.name,
            "version": served.version,
            "infer": f"{_model_path(served)}/infer",
            "inputs": [spec.as_json() for spec in served.signature.inputs],
            "outputs": [spec.as_json() for spec in served.signature.outputs],
        },
    }


def _overview(served: Description) -> str:
    lines = [
        "Inputs and outputs (-1 is a free axis; the alternatives of a request list the sizes of the examples only):"
    ]
    for title, specs in (("input", served.signature.inputs), ("output", served.signature.outputs)):
        lines += [f"- {title} `{spec.name}`: {spec.datatype} {list(spec.shape)}" for spec in specs]
    return "\n".join(lines)


def _model_path(served: Description) -> str:
    return f"/v2/models/{quote(served.name, safe='')}"


# -- paths ------------------------------------------------------------------------------------------------------------


def _paths(served: Description) -> JsonObject:
    paths: JsonObject = {
        "/v2": {"get": _read("serverMetadata", "What this server is.", "ServerMetadata")},
        "/v2/health/live": {"get": _probe("serverLive", "The process answers.")},
        "/v2/health/ready": {"get": _probe("serverReady", "A real inference has succeeded and no stop was asked for.")},
    }
    versioned = f"{_model_path(served)}/versions/{quote(served.version, safe='')}"
    for path, suffix in ((_model_path(served), ""), (versioned, "Version")):
        paths[path] = {"get": _read(f"modelMetadata{suffix}", "Inputs, outputs, platform.", "ModelMetadata")}
        paths[f"{path}/ready"] = {"get": _probe(f"modelReady{suffix}", "The model can answer.")}
        paths[f"{path}/stats"] = {"get": _read(f"modelStats{suffix}", "Counts and times.", "Object")}
        paths[f"{path}/infer"] = {
            "post": {
                "operationId": f"infer{suffix}",
                "summary": "Run the model once.",
                "description": _BINARY_EXTENSION,
                "requestBody": _inference_body(),
                "responses": {"200": _outputs_answer(), **_errors_of_a_body()},
            }
        }
    paths |= _hosted_paths() | _event_path() | _page_paths()
    if served.openwhisk:
        paths |= _openwhisk_paths()
    return paths


def _hosted_paths() -> JsonObject:
    return {
        "/ping": {"get": _probe("ping", "Hosted containers: healthy or not.")},
        "/invocations": {
            "post": {
                "operationId": "invocations",
                "summary": "Hosted containers: run the model once.",
                "description": "Takes an Open Inference request; or `inputs`, nested lists by name, answered "
                "by name; or `instances`, a list of rows, answered by `predictions`.",
                "requestBody": _inference_body("InvocationRequest"),
                "responses": {"200": _json_answer("InvocationAnswer", "The outputs."), **_errors_of_a_body()},
            }
        },
    }


def _event_path() -> JsonObject:
    media = {"schema": ref("Event")}
    answer = {
        "description": "The answer as an event of the type `dev.mlfn.inference.response`.",
        "content": {"application/cloudevents+json": {"schema": ref("EventAnswer")}},
    }
    return {
        "/": {
            "post": {
                "operationId": "event",
                "summary": "Answer one CloudEvent.",
                "description": _EVENT_MODES,
                "requestBody": {"required": True, "content": {"application/cloudevents+json": media}},
                "responses": {"200": answer, **_errors_of_a_body()},
            }
        }
    }


def _page_paths() -> JsonObject:
    def page(operation: str, summary: str, content_type: str, schema: JsonObject) -> JsonObject:
        content = {content_type: {"schema": schema}}
        return {
            "get": {
                "operationId": operation,
                "summary": summary,
                "responses": {"200": {"description": summary, "content": content}, **_errors_of_a_read()},
            }
        }

    text: JsonObject = {"type": "string"}
    return {
        "/metrics": page("metrics", "Metrics in the Prometheus text format.", "text/plain", text),
        "/openapi.json": page("openapi", "This document.", "application/json", {"type": "object"}),
        "/docs": page("docs", "A page that shows the signature and sends requests.", "text/html", text),
    }


def _openwhisk_paths() -> JsonObject:
    refused = {"403": {"$ref": "#/components/responses/Error"}}
    return {
        "/init": {
            "post": {
                "operationId": "openwhiskInit",
                "summary": "OpenWhisk: acknowledge once; the model is never replaced.",
                "requestBody": {"content": {"application/json": {"schema": ref("OpenWhiskInit")}}},
                "responses": {"200": _json_answer("OpenWhiskOk", "Ready."), **refused, **_errors_of_a_body()},
            }
        },
        "/run": {
            "post": {
                "operationId": "openwhiskRun",
                "summary": "OpenWhisk: run the model once; a request that can't be answered is 200 with `error`.",
                "requestBody": {"content": {"application/json": {"schema": ref("OpenWhiskRun")}}},
                "responses": {
                    "200": _json_answer("OpenWhiskAnswer", "The outputs, or `error`."),
                    **_errors_of_a_body(),
                },
            }
        },
    }


def _inference_body(schema: str = "InferenceRequest") -> JsonObject:
    examples = {"inference": {"$ref": "#/components/examples/inference"}}
    return {
        "required": True,
        "content": {"application/json": {"schema": ref(schema), "examples": examples}},
    }


def _read(operation: str, summary: str, schema: str) -> JsonObject:
    return {
        "operationId": operation,
        "summary": summary,
        "responses": {"200": _json_answer(schema, summary), **_errors_of_a_read()},
    }


def _probe(operation: str, summary: str) -> JsonObject:
    return {
        "operationId": operation,
        "summary": summary,
        "responses": {"200": {"description": summary}, **_errors_of_a_read()},
    }


def _json_answer(schema: str, description: str) -> JsonObject:
    return {"description": description, "content": {"application/json": {"schema": ref(schema)}}}


def _outputs_answer() -> JsonObject:
    answer = _json_answer("InferenceResponse", "The outputs.")
    answer["content"]["application/octet-stream"] = {}
    return answer


# -- errors -----------------------------------------------------------------------------------------------------------

_ERRORS = {
    "Error": "The request can't be answered; `error` names the input, what was expected and what came.",
    "Unavailable": "Starting, stopping, or the queue is full: try again after `Retry-After` seconds.",
}


def _shared_responses() -> JsonObject:
    responses: JsonObject = {name: _json_answer("Error", text) for name, text in _ERRORS.items()}
    responses["Unavailable"]["headers"] = {"Retry-After": {"schema": {"type": "string"}, "description": "Seconds."}}
    return responses


def _errors_of_a_read() -> JsonObject:
    """List what the door itself can say to any request: bad framing, slow, too large, unavailable."""
    error = {"$ref": "#/components/responses/Error"}
    unavailable = {"$ref": "#/components/responses/Unavailable"}
    return {**dict.fromkeys(("400", "408", "413", "414", "417", "431"), error), "503": unavailable, "504": error}


def _errors_of_a_body() -> JsonObject:
    errors = {**_errors_of_a_read(), "415": {"$ref": "#/components/responses/Error"}}
    return {status: errors[status] for status in sorted(errors)}

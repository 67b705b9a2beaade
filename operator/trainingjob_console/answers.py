"""The one form of all errors that the console answers with."""

from starlette.responses import JSONResponse, Response

from trainingjob_console.errors import RequestError


def refuse(error: RequestError) -> Response:
    """Return the response for an error of ours, to a request or to a socket before its upgrade."""
    headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s else {}
    return failure(error.status, error.reason, str(error), headers)


def failure(
    status: int, reason: str, message: str, headers: dict[str, str] | None = None
) -> Response:
    """Return a response that says what is wrong; no cache may keep it."""
    body = {"error": {"reason": reason, "message": message}}
    return JSONResponse(
        body, status_code=status, headers={"Cache-Control": "no-store"} | (headers or {})
    )

"""How an error goes out over HTTP."""

from fastapi.responses import JSONResponse

from tunesmith.serve.problems import ApiProblem


def problem_response(problem: ApiProblem, headers: dict[str, str]) -> JSONResponse:
    """An error in OpenAI's form."""
    # The SDK repeats a request after a 500; what fails here fails again, unless it says when.
    again = problem.status < 500 or "retry-after" in problem.headers
    stop = {} if again else {"x-should-retry": "false"}
    return JSONResponse(problem.body(), problem.status, {**headers, **problem.headers, **stop})

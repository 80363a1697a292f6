"""A job that tries everything to get at the platform: run by `test_isolated`. Prints one line of JSON."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request

from tests.trials.hostile import Hostile


def request(method, path, body=None):
    """The status of a request with the job's own key."""
    headers = {"Authorization": f"Bearer {os.environ['ML_API_KEY']}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(os.environ["ML_URL"] + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def main():
    targets = json.loads(sys.argv[1])
    model = Hostile(**targets)
    told = model.predict([[float(number)] for number in range(len(model.tries))])
    join = "import ray; ray.init(sys.argv[1], logging_level='ERROR')"
    address = f"127.0.0.1:{targets['port']}"
    try:  # Ray waits long for what it cannot reach
        command = [sys.executable, "-c", f"import sys; {join}", address]
        joined = subprocess.run(command, capture_output=True, timeout=15).returncode == 0
    except subprocess.TimeoutExpired:
        joined = False
    print(
        json.dumps(
            {
                "got": [one for one in told if "got" in one],
                "tries": len(told),
                "uid": os.getuid(),
                "variables": sorted(name for name in os.environ if name.startswith(("ML_", "RAY_"))),
                "joined": joined,
                "key": os.environ["ML_API_KEY"],
                "reads": request("GET", "/api/models"),
                "submits": request("POST", "/api/jobs", {"entrypoint": "id"}),
                "makes keys": request("POST", "/api/keys", {"principal": "operator"}),
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()

"""A real Prometheus: scrapes what it is told to, answers queries, and promtool checks."""

import http.client
import json
import os
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from machine import PATIENCE, ROOT, Process, free_ports, wait_for

PROGRAMS = ROOT / ".cache/prometheus/usr/bin"


def promtool(*argv, stdin=None):
    """Output of a check that has to succeed. It computes a lot: it has the time of a whole test."""
    done = subprocess.run([PROGRAMS / "promtool", *map(str, argv)], input=stdin, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def fetch(url, accept="*/*"):
    """(status, content type, text) of a GET; errors are answers too."""
    request = urllib.request.Request(url, headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


def answers(url, status):
    """Whether a GET is answered with this status; a port that is not open yet answers nothing."""
    try:
        return fetch(url)[0] == status
    except (OSError, http.client.HTTPException):
        return False


class Prometheus:
    def __init__(self, folder, target, rules=None):
        self.folder, self.port = folder, free_ports(1)[0]
        config = {
            # A scrape may take as long as the time to the next one: a second of a machine that has little of it.
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [{"job_name": "tollgate", "static_configs": [{"targets": [target]}]}],
            "rule_files": [str(rules)] if rules else [],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        self.process = Process(
            "prometheus",
            folder,
            [
                PROGRAMS / "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/prometheus-data",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--enable-feature=exemplar-storage",
                "--log.level=warn",
            ],
            env={"GOMAXPROCS": os.environ.get("GOMAXPROCS", "1")},
        )

    def __enter__(self):
        self.process.start()
        return self

    def __exit__(self, *_):
        self.process.stop()

    def api(self, path, **parameters):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            body = json.load(answer)
        assert body["status"] == "success", body
        return body["data"]

    def target(self):
        """The one scraped target once it has been scraped well; as it is when that does not happen."""
        last = []

        def look():
            try:
                targets = self.api("targets")["activeTargets"]
            except OSError:
                assert self.process.alive(), self.process.tail()
                return None
            last[:] = targets
            return targets and targets[0]["health"] == "up" and targets[0]

        try:
            return wait_for(look, "Prometheus to scrape")
        except TimeoutError:
            if last:
                return last[0]
            raise

    def value(self, query):
        """The sum of an instant query's samples."""
        return sum(float(sample["value"][1]) for sample in self.api("query", query=query)["result"])

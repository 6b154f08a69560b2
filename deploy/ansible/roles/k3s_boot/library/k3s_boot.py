#!/usr/bin/python
"""Runs k3s-boot for one cluster."""

from __future__ import annotations

import json
import os
import subprocess
import time

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: k3s_boot
short_description: Bootstrap a k3s cluster with k3s-boot
description:
  - Runs C(k3s-boot apps), or C(k3s-boot diff --exit-code) in check mode.
  - Repeats a run only after exit code 6 or 8.
  - The variables of the role describe the options.
author:
  - k3s-boot
options:
  program:
    description: The program.
    type: path
    default: k3s-boot
  kubeconfig:
    description: Kubeconfig of the cluster.
    type: path
    required: true
  context:
    description: Context of the kubeconfig.
    type: str
  root:
    description: Root of the repository.
    type: path
    required: true
  cluster:
    description: UID of the cluster that may be bootstrapped.
    type: str
  age_key_file:
    description: File with the age key.
    type: path
  age_key:
    description: The age key itself.
    type: str
  env_files:
    description: Files with variables for templates.
    type: list
    elements: path
    default: []
  environment:
    description: Environment variables of k3s-boot.
    type: dict
    default: {}
  arguments:
    description: More options of C(k3s-boot apps) and C(k3s-boot diff).
    type: list
    elements: str
    default: []
  apps_arguments:
    description: More options of C(k3s-boot apps).
    type: list
    elements: str
    default: []
  report:
    description: File for the report.
    type: path
    required: true
  log:
    description: File for the log.
    type: path
    required: true
  retries:
    description: How often a run is repeated.
    type: int
    default: 0
  retry_delay:
    description: Seconds between two runs.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: Bootstrap the cluster
  k3s_boot:
    kubeconfig: /etc/clusters/store-1/kubeconfig
    root: /srv/gitops
    age_key_file: /etc/clusters/store-1/age.key
    report: /var/lib/k3s-boot/store-1.json
    log: /var/lib/k3s-boot/store-1.log
  delegate_to: localhost
"""

RETURN = r"""
exit_code:
  description: Exit code of the last run; negative if a signal killed it.
  type: int
  returned: always
attempts:
  description: Number of runs.
  type: int
  returned: always
result:
  description: RV(result) of the report.
  type: str
  returned: if there is a report
cluster:
  description: UID of the cluster.
  type: str
  returned: if the cluster was reached
report:
  description: File with the report.
  type: str
  returned: always
log:
  description: File with the log.
  type: str
  returned: always
"""

TIMED_OUT = 6
DIFFERENT = 7
LOCKED = 8
# What nothing was changed by: a failed preflight, a usage error, and another run that holds the lock.
NOTHING_CHANGED = (0, 1, 2, LOCKED)


def command(params, check):
    """The command line, which holds no secret."""
    words = [params["program"], *(["diff", "--exit-code"] if check else ["apps"])]
    words += ["--color", "never", "--report", params["report"]]
    for option in ("kubeconfig", "context", "root", "cluster"):
        if params[option]:
            words += ["--" + option, params[option]]
    if params["age_key"]:
        words += ["--age-key", "-"]
    elif params["age_key_file"]:
        words += ["--age-key", params["age_key_file"]]
    for path in params["env_files"]:
        words += ["--env-file", path]
    return words + params["arguments"] + ([] if check else params["apps_arguments"])


def run(words, params):
    """Runs k3s-boot and returns its exit code, its report if there is one, and its last error messages."""
    environment = {**os.environ, **{name: str(value) for name, value in params["environment"].items()}}
    with open(params["log"], "ab") as log, subprocess.Popen(
        words,
        env=environment,
        stdin=subprocess.PIPE if params["age_key"] else subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    ) as process:
        start = log.tell()
        process.communicate((params["age_key"] + "\n").encode() if params["age_key"] else None)
    try:
        with open(params["report"], encoding="utf-8") as file:
            report = json.load(file)
    except (OSError, ValueError):
        report = None
    with open(params["log"], encoding="utf-8", errors="replace") as file:
        file.seek(start)
        printed = file.read()
    return process.returncode, report, printed


def explain(exit_code, report, printed, log):
    """What failed, why, and what fixes it."""
    failure = (report or {}).get("failure")
    if failure:
        lines = [f"{failure['message']}: {failure['culprit']}", f"cause: {failure['cause']}"]
        fix = failure["fix"]
        lines.append(f"fix: {fix}" if "\n" not in fix else "fix:\n" + fix)
    else:
        lines = ["k3s-boot wrote no report", *printed.strip().splitlines()[-10:]]
    return "\n".join([*lines, f"exit code: {exit_code}", f"log: {log}"])


def main():
    """Runs k3s-boot until it has succeeded, failed for good, or failed often enough."""
    module = AnsibleModule(
        argument_spec={
            "program": {"type": "path", "default": "k3s-boot"},
            "kubeconfig": {"type": "path", "required": True},
            "context": {"type": "str"},
            "root": {"type": "path", "required": True},
            "cluster": {"type": "str"},
            "age_key_file": {"type": "path", "no_log": False},
            "age_key": {"type": "str", "no_log": True},
            "env_files": {"type": "list", "elements": "path", "default": []},
            "environment": {"type": "dict", "default": {}},
            "arguments": {"type": "list", "elements": "str", "default": []},
            "apps_arguments": {"type": "list", "elements": "str", "default": []},
            "report": {"type": "path", "required": True},
            "log": {"type": "path", "required": True},
            "retries": {"type": "int", "default": 0},
            "retry_delay": {"type": "int", "default": 30},
        },
        mutually_exclusive=[("age_key", "age_key_file")],
        supports_check_mode=True,
    )
    params, check = module.params, module.check_mode
    os.umask(0o077)
    # The variables may be secret.
    result = {"changed": False, "report": params["report"], "log": params["log"], "invocation": {}}
    try:
        os.makedirs(os.path.dirname(params["report"]), exist_ok=True)
        open(params["log"], "wb").close()
        for attempt in range(1, params["retries"] + 2):
            exit_code, report, printed = run(command(params, check), params)
            if check:
                changed = exit_code == DIFFERENT
            else:
                changed = (report or {}).get("changed", exit_code not in NOTHING_CHANGED)
            # An earlier attempt may have changed something too.
            result["changed"] = result["changed"] or changed
            if exit_code not in (TIMED_OUT, LOCKED) or attempt > params["retries"]:
                break
            time.sleep(params["retry_delay"])
    except OSError as error:
        module.fail_json(msg=f"cannot run {params['program']}: {error}", exit_code=1, attempts=0, **result)
    result.update(exit_code=exit_code, attempts=attempt)
    if report:
        result["result"] = report.get("result")
        result["cluster"] = (report.get("cluster") or {}).get("uid")
    if exit_code == 0 or (check and exit_code == DIFFERENT):
        if check and module._diff:  # pylint: disable=protected-access
            result["diff"] = {"prepared": printed}
        module.exit_json(**result)
    module.fail_json(msg=explain(exit_code, report, printed, params["log"]), **result)


if __name__ == "__main__":
    main()

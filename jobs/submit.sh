#!/usr/bin/env bash
# Runs the job on a running Ray cluster, and follows its log to the end.
#
#   RAY_API_SERVER_ADDRESS=http://HEAD:8265 jobs/submit.sh --config phoenix-gpu SOURCE OUTPUT
#
# The arguments are those of `phoenix-ray run`; paths are as the cluster's nodes see them. To resume, submit the same
# arguments again: the output folder records what is done. This machine only needs `ray[default]`; the nodes need the
# package and the weights (jobs/README.md).
#
# Environment:
#   RAY_API_SERVER_ADDRESS   the cluster's dashboard
#   RAY_AUTH_TOKEN           the cluster's token; default: the file $RAY_AUTH_TOKEN_PATH, else ~/.ray/auth_token
#   PHOENIX_RAY_PYTHON       the Python of the nodes' environment (default: python)
#   PHOENIX_RAY_MODELS       folder of the weights on the nodes, if their own environment does not set it
set -euo pipefail

if [[ $# -eq 0 || -z ${RAY_API_SERVER_ADDRESS:-} ]]; then
    sed -n '2,/^set -/p' "$0" | sed -n 's/^# \{0,1\}//p' >&2
    exit 2
fi
if [[ -z ${RAY_AUTH_MODE:-} ]] && [[ -n ${RAY_AUTH_TOKEN:-}${RAY_AUTH_TOKEN_PATH:-} || -s ~/.ray/auth_token ]]; then
    export RAY_AUTH_MODE=token
fi

# Ray accepts a submission ID only once, so each resume gets a new one.
id="phoenix-ray-$(date -u +%Y%m%d-%H%M%S)-$$"
run=("${PHOENIX_RAY_PYTHON:-python}" -m phoenix_ray.run "$@")
if [[ -n ${PHOENIX_RAY_MODELS:-} ]]; then
    run+=("model.weights_path=$PHOENIX_RAY_MODELS")
fi
# `ray job stop` sends SIGTERM and by default kills after 3 s; the run needs cluster.drain_seconds to finish its shards.
environment='{"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "90"}}'

echo "Ctrl-C leaves the job running. To stop it without losing work: ray job stop $id" >&2
status=0
ray job submit --submission-id "$id" --runtime-env-json "$environment" -- "${run[@]}" || status=$?

# `ray job submit` exits with 1 for any failure, and with 0 if the job was stopped. The cluster knows the run's own exit
# code (docs/cli.md).
known=$("$(dirname "$(command -v ray)")/python" -c '
import sys
from ray.job_submission import JobSubmissionClient
info = JobSubmissionClient().get_job_info(sys.argv[1])
print({"SUCCEEDED": 0, "STOPPED": 143}.get(info.status, info.driver_exit_code or 1))' "$id" 2>/dev/null) || known=$status
exit "$known"

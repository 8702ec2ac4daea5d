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

# What another shell has to set for `ray job`. A token is not printed, the name of its file is.
prefix=""
if [[ ${RAY_AUTH_MODE:-} == token ]]; then
    prefix="RAY_AUTH_MODE=token "
    if [[ -n ${RAY_AUTH_TOKEN:-} ]]; then
        prefix+='RAY_AUTH_TOKEN=… '
    elif [[ -n ${RAY_AUTH_TOKEN_PATH:-} ]]; then
        [[ $RAY_AUTH_TOKEN_PATH == /* ]] || RAY_AUTH_TOKEN_PATH=$PWD/$RAY_AUTH_TOKEN_PATH
        prefix+="RAY_AUTH_TOKEN_PATH=$(printf %q "$RAY_AUTH_TOKEN_PATH") "
    fi
fi
show() { echo "    ${prefix}ray job $* --address $(printf %q "$RAY_API_SERVER_ADDRESS") $id" >&2; }

# The "next steps" that Ray prints lack the address and the token.
said=$(ray job submit --no-wait --submission-id "$id" --runtime-env-json "$environment" -- "${run[@]}") || {
    echo "$said" >&2
    exit 1
}
echo "Submitted as $id. Ctrl-C leaves it running. From any shell, follow it, ask how it is, or stop it without loss:" >&2
show logs --follow
show status
show stop

status=0
ray job logs --follow "$id" || status=$?

# `ray job logs` ends with 0 whatever became of the job. The cluster knows the run's own exit code (docs/cli.md).
known=$("$(dirname "$(command -v ray)")/python" -c '
import sys
from ray.job_submission import JobSubmissionClient
info = JobSubmissionClient().get_job_info(sys.argv[1])
if not info.status.is_terminal():
    sys.exit("The connection to the job was lost; it is still running.")
print({"SUCCEEDED": 0, "STOPPED": 143}.get(info.status, info.driver_exit_code or 1))' "$id") || {
    echo "What became of $id is not known: ask for its status as shown above." >&2
    exit "$((status ? status : 1))"
}
exit "$known"

#!/usr/bin/env bash
# What the pods of rayjob*.yaml call. jobs/Dockerfile puts it into the image.
#
#   rayjob.sh run ARGUMENTS…   the entrypoint: runs phoenix_ray on the head, and again after a failure that may pass
#   rayjob.sh drain            before a pod stops: asks the run to finish its shards, and waits for it and its workers
#
# Exit codes 0 and 2 to 6 are final, as are 130 and 143 after a signal (docs/cli.md). After others, such as 7 (no worker
# starts) and 137 (out of memory), `run` waits and tries again; the dataset records what is done.
#
# Environment:
#   PHOENIX_RAY_RETRY_SECONDS   pauses before the next attempts (default: "10 60 300")
set -uo pipefail

pid_file=${TMPDIR:-/tmp}/phoenix-ray-run.pid
signals=0 asked="" pid="" code=0

say() { echo "rayjob.sh: $*" >&2; }

# `ray job stop` and KubeRay signal the run as well as this script. `drain` signals this script alone, because a second
# signal would end the run at once.
# shellcheck disable=SC2317  # the traps call it
stop() {
    signals=$((signals + 1))
    [[ $1 == TERM || -n $asked || -z $pid ]] || kill -TERM "$pid" 2>/dev/null
    [[ $asked == TERM ]] || asked=$1
}

# A signal ends a `wait` with a number that is not the process's exit code; then wait again.
wait_for() {
    local before
    pid=$1
    while :; do
        before=$signals
        wait "$pid"
        code=$?
        [[ $before != "$signals" ]] || break
    done
}

# When its pod stops, the job must neither succeed nor fail: KubeRay's submitter then starts it on the next head.
end_with() {
    rm -f "$pid_file"
    if [[ $asked == USR1 && ! $1 =~ ^[02-6]$ ]]; then
        say "drained; the next head continues"
        sleep 600 &
        pid=$!
        while [[ $asked != TERM ]] && kill -0 "$pid" 2>/dev/null; do wait "$pid"; done
        kill "$pid" 2>/dev/null
    fi
    exit "$1"
}

run() {
    local ended pause pauses
    read -ra pauses <<<"${PHOENIX_RAY_RETRY_SECONDS-10 60 300}"
    echo $$ >"$pid_file"
    trap 'stop TERM' TERM INT
    trap 'stop USR1' USR1
    for pause in "${pauses[@]}" ""; do
        # A driver that was lost with its head holds the output for a minute.
        python -m phoenix_ray.run run.wait_for_lease_seconds=120 "$@" &
        wait_for $!
        case $code in
            0 | [2-6] | 130 | 143) end_with "$code" ;;
        esac
        [[ -z $asked && -n $pause ]] || end_with "$code"
        say "the run ended with exit code $code; trying again in $pause s"
        ended=$code
        sleep "$pause" &
        wait_for $!
        [[ -z $asked ]] || end_with "$ended"
    done
}

drain() {
    local run=""
    [[ ! -s $pid_file ]] || run=$(<"$pid_file")
    [[ -z $run ]] || kill -USR1 "$run" 2>/dev/null
    # Kubernetes ends this wait after terminationGracePeriodSeconds. Ray names workers' processes after their class.
    while { [[ -e $pid_file ]] && kill -0 "${run:-none}" 2>/dev/null; } ||
        grep -qs '[r]ay::ShardActor' /proc/[0-9]*/cmdline; do
        sleep 1
    done
}

case ${1:-} in
    run) run "${@:2}" ;;
    drain) drain ;;
    *)
        sed -n '2,/^set -/p' "$0" | sed -n 's/^# \{0,1\}//p' >&2
        exit 2
        ;;
esac

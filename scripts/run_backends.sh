#!/usr/bin/env bash
# Starts demo backends for the example configuration: on 8081 and 8082, or on the ports named as arguments. Each answers
# /health. Ctrl-C stops all; one that is killed leaves the others running. Nothing else is touched.
#
#   ./scripts/run_backends.sh
#   ./scripts/run_backends.sh 8081 8082 8083
set -euo pipefail
cd "$(dirname "$0")/.."

ports=("$@")
[[ ${#ports[@]} -gt 0 ]] || ports=(8081 8082)
for port in "${ports[@]}"; do
	if [[ ! $port =~ ^[0-9]{1,5}$ ]] || ((10#$port > 65535)); then
		echo "usage: $0 [port...]; \"$port\" is no port" >&2
		exit 2
	fi
done

work=$(mktemp -d)
pids=()
stop() {
	trap - EXIT
	trap '' INT TERM
	for pid in ${pids[@]+"${pids[@]}"}; do kill "$pid" 2>/dev/null || true; done
	wait 2>/dev/null || true
	rm -rf "$work"
}
trap stop EXIT
trap 'exit 0' INT TERM

go build -o "$work/backend" ./internal/demo/cmd/backend
for i in "${!ports[@]}"; do
	"$work/backend" -addr "localhost:${ports[$i]}" -name "backend$((i + 1))" &
	pids+=($!)
done

# One that cannot start, its port in use, ends them all.
sleep 0.5
for pid in "${pids[@]}"; do
	if ! kill -0 "$pid" 2>/dev/null; then
		echo "a backend could not start; stopping the others" >&2
		exit 1
	fi
done
wait

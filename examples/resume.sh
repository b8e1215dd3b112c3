#!/usr/bin/env bash
# Goes on with a run every night until all is done, say by cron:
#
#     0 22 * * * /path/to/resume.sh /data/audit 8h
#
# It takes the run's folder and how long it may take, as timeout(1) has it. What is under way when the time is over is
# begun again the next night. Where it still runs from the night before, this one ends.
set -euo pipefail

RUN=$1
LIMIT=${2:-8h}
WORKERS=${WORKERS:-2}

status=0
timeout --signal=INT --kill-after=60 "$LIMIT" kdb "RESUME RUN '$RUN' VIA processes($WORKERS)" || status=$?
kdb "SHOW RUN '$RUN'"
# 124: the time was over; 1: some images failed, which SHOW RUN counts; 130: interrupted.
[ "$status" -eq 0 ] || [ "$status" -eq 1 ] || [ "$status" -eq 124 ] || [ "$status" -eq 130 ]

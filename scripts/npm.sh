#!/usr/bin/env bash
# Brings the npm packages of the folders given, as their lock files name them.
# Does nothing where they are in place already. No package's own scripts run.
set -euo pipefail

for folder; do
    # npm leaves a copy of the lock file behind, newer than the one it read.
    if [ "$folder/node_modules/.package-lock.json" -nt "$folder/package-lock.json" ]; then
        continue
    fi
    echo "npm ci in $folder"
    (cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
done

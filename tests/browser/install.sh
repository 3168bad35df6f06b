#!/usr/bin/env bash
# Install the browser that tests/browser drives, where it is missing. Without it those tests are skipped.
set -euo pipefail
command -v chromium >/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null
else
    echo "chromium cannot be installed here; tests/browser will be skipped" >&2
fi

#!/usr/bin/env bash
# Installs Chromium where that is possible, so that the tests see the web pages as a reader does. Never fails.
for name in chromium chromium-browser google-chrome-stable google-chrome; do
    command -v "$name" >/dev/null && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    log=$(mktemp)
    if { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } >"$log" 2>&1; then
        exit 0
    fi
    tail -n 3 "$log" >&2
fi
echo "WARNING: there is no Chromium, and it could not be installed: the web pages will be judged by their text alone" >&2

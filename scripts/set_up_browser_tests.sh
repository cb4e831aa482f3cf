#!/usr/bin/env bash
# Install what the browser tests of the reader study need besides Python packages: Debian's Chromium, and axe-core for
# checks of text and contrast, in .browser/ (not committed). Without them those tests are skipped with that reason.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v chromium >/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium fonts-dejavu-core >/dev/null
  else
    echo "chromium is missing and this user may not install it; install Debian's package chromium" >&2
  fi
fi

if [ ! -f .browser/node_modules/axe-core/axe.min.js ]; then
  if command -v npm >/dev/null; then
    npm install --prefix .browser --silent --no-audit --no-fund --ignore-scripts axe-core@4.14.1
  else
    echo "npm is missing; the check of contrast and labels will be skipped" >&2
  fi
fi

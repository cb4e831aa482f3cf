#!/usr/bin/env bash
# Install dciodvfy, which checks DICOM objects, from Debian's package dicom3tools. Without it those tests are skipped
# with that reason.
set -euo pipefail

command -v dciodvfy >/dev/null && exit
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends dicom3tools >/dev/null
else
  echo "dciodvfy is missing and this user may not install it; install Debian's package dicom3tools" >&2
fi

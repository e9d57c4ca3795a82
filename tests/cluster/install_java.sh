#!/usr/bin/env bash
# Java and Maven, which the tests' HDFS is made of: nothing if they are there, else installed as root, else said what to do.
set -uo pipefail

missing=()
command -v java > /dev/null || missing+=(openjdk-17-jre-headless)
command -v mvn > /dev/null || missing+=(maven)
((${#missing[@]})) || exit 0

if [[ $(id -u) != 0 ]] || ! command -v apt-get > /dev/null; then
    echo "the tests on real storage need ${missing[*]}; as root on Debian: apt-get install ${missing[*]}" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
for pause in 5 20 60 0; do
    apt-get update -q && apt-get install -qy --no-install-recommends "${missing[@]}" && exit 0
    [[ $pause != 0 ]] || { echo "could not install ${missing[*]}" >&2; exit 1; }
    sleep "$pause"
done

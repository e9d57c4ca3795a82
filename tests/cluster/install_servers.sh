#!/usr/bin/env bash
# Java and Maven, which the tests' Hadoop is made of, Slurm, munge and a browser: nothing if they are there, else installed, else said what to do.
set -uo pipefail
PATH=$PATH:/usr/sbin:/sbin

missing=()
command -v java > /dev/null || missing+=(openjdk-17-jre-headless)
command -v mvn > /dev/null || missing+=(maven)
command -v slurmctld > /dev/null && command -v slurmd > /dev/null && command -v sbatch > /dev/null || missing+=(slurm-wlm)
command -v munged > /dev/null || missing+=(munge)
command -v chromium > /dev/null || command -v chromium-browser > /dev/null || command -v google-chrome > /dev/null || missing+=(chromium)
if [[ $(id -u) != 0 ]]; then
    echo "the tests on a real Slurm start its daemons, which takes root" >&2
    ((${#missing[@]})) && echo "and these tests need ${missing[*]}; on Debian: apt-get install ${missing[*]}" >&2
    exit 1
fi
((${#missing[@]})) || exit 0

if ! command -v apt-get > /dev/null; then
    echo "the tests on real clusters need ${missing[*]}; on Debian: apt-get install ${missing[*]}" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
for pause in 5 20 60 0; do
    apt-get update -q && apt-get install -qy --no-install-recommends "${missing[@]}" && exit 0
    [[ $pause != 0 ]] || { echo "could not install ${missing[*]}" >&2; exit 1; }
    sleep "$pause"
done

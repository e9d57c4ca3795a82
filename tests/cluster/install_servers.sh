#!/usr/bin/env bash
# Java and Maven, which the tests' Hadoop is made of, Slurm and munge, Kerberos and what Python needs to speak it, an Open MPI as a module,
# a browser: nothing if they are there, else installed as root, else said what to do.
set -uo pipefail
PATH=$PATH:/usr/sbin:/sbin

missing=()
command -v java > /dev/null || missing+=(openjdk-17-jre-headless)
command -v mvn > /dev/null || missing+=(maven)
command -v slurmctld > /dev/null && command -v slurmd > /dev/null && command -v sbatch > /dev/null || missing+=(slurm-wlm)
command -v munged > /dev/null || missing+=(munge)
command -v chromium > /dev/null || command -v chromium-browser > /dev/null || command -v google-chrome > /dev/null || missing+=(chromium)
command -v krb5kdc > /dev/null || missing+=(krb5-kdc)
command -v kadmin.local > /dev/null || missing+=(krb5-admin-server)
command -v kinit > /dev/null || missing+=(krb5-user)
command -v krb5-config > /dev/null || missing+=(libkrb5-dev)
# An Open MPI as clusters have it: loaded as a module, and started by Slurm, whose plugin wants the library's name for developers.
compgen -G '/usr/lib/*/pmix2/lib/libpmix.so' > /dev/null || missing+=(libpmix-dev)
compgen -G '/usr/lib/*/libmpi.so.40' > /dev/null || missing+=(libopenmpi3)
[[ -e /etc/profile.d/modules.sh ]] || missing+=(environment-modules)
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

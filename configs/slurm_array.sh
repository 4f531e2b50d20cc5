#!/bin/bash
# `clickmap prepare` as a SLURM job array: no cluster software, each job makes its part of the maps.
#
#   bash configs/slurm_array.sh my.yaml 8
#
# submits eight jobs with --shard 1/8 ... 8/8 and one with --merge that waits for all of them. The
# parts write into one folder, which all nodes must see. A job that dies or is taken away is simply
# run again (--requeue does it by itself): it skips what it had finished. If parts are missing,
# --merge says which and writes nothing; submit them again, then --merge.
set -euo pipefail

config=${1:?usage: bash slurm_array.sh CONFIG [JOBS]}
jobs=${2:-8}

# every job reads all trials and makes one part of the maps: give it memory for the trials
# (about 1 GB a million) and as many cores as shards it should make at once
array=$(sbatch --parsable --array="1-${jobs}" --requeue --job-name=clickmap \
  --cpus-per-task=4 --mem=8G --time=02:00:00 --output="clickmap_%A_%a.log" \
  --wrap="clickmap prepare --config '${config}' --n-jobs 4 --shard \${SLURM_ARRAY_TASK_ID}/${jobs}")

sbatch --dependency="afterok:${array}" --job-name=clickmap-merge \
  --cpus-per-task=2 --mem=8G --time=01:00:00 --output="clickmap_%j_merge.log" \
  --wrap="clickmap prepare --config '${config}' --merge"

#!/usr/bin/env bash
# A sweep on Slurm: one Ray over all nodes of the job, for as long as the job. From a login node, in a folder on the shared
# file system, with scyc-sweep on the PATH and the data already there (nodes that compute seldom reach the internet):
#   sbatch docker/slurm.sh oracle --model vgg19 --data-dir data --out results/vgg19
# The words after the script are scyc-sweep's command. If the job is preempted, or reaches its time limit, it goes back into
# the queue and the same command goes on: no finished lane is trained again.
#SBATCH --job-name=scyc-sweep
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
# Ray uses a whole node, and refuses a second Ray on it.
#SBATCH --exclusive
#SBATCH --requeue
#SBATCH --open-mode=append
# To this script alone, two minutes before the time limit; a signal to all would end the sweep instead.
#SBATCH --signal=B:USR1@120
set -euo pipefail

if (($# == 0)); then
  echo "usage: sbatch $0 oracle --out DIR ..." >&2
  exit 2
fi

# On a shared network, whoever reaches Ray can run code as you. The token lies in the home folder, which all nodes see;
# others may see the file, but not read it.
export RAY_AUTH_MODE=token
(umask 077 && ray get-auth-token --generate >/dev/null)

# All nodes import from a shared file system at the same time: Ray's default of 30 seconds is too short.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300

# This script runs on the first node, which becomes the head. By number: a node may know its own name as 127.0.1.1.
# HEAD_IP chooses the network where a node has several.
read -ra addresses < <(hostname -I)
head_ip=${HEAD_IP:-${addresses[0]}}

trap 'scontrol requeue "$SLURM_JOB_ID"' USR1

# In the background: bash runs a trap only when the command in front has ended.
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" \
  ray symmetric-run \
  --address "$head_ip:6379" \
  --min-nodes "$SLURM_JOB_NUM_NODES" \
  --num-cpus "$SLURM_CPUS_PER_TASK" \
  --num-gpus "$SLURM_GPUS_ON_NODE" \
  -- scyc-sweep "$@" --address auto &
sweep=$!
# A signal ends the first wait, not the sweep. If the sweep itself failed, the second wait gives its status again.
wait "$sweep" || wait "$sweep"

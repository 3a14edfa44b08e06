#!/usr/bin/env bash
# A sweep on Slurm: one Ray over all nodes of the job, for as long as the job. From a login node, in a folder on the shared
# file system, with scyc-sweep on the PATH and the data already there (nodes that compute seldom reach the internet):
#   sbatch docker/slurm.sh oracle --model vgg19 --data-dir data --out results/vgg19
# What is given after the script is scyc-sweep's command. Preempted, or at the time limit, the job goes back into the queue
# and the same command goes on: no finished lane is trained again.
#SBATCH --job-name=scyc-sweep
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
# Ray takes a node for its own, and a second one on it for a mistake.
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

# On a network that others share, whoever reaches Ray runs code as you. The token lies in the home folder that all nodes
# see; others may see it too, but not read it.
export RAY_AUTH_MODE=token
(umask 077 && ray get-auth-token --generate >/dev/null)

# Nodes import from a shared file system at the same time: Ray's own 30 seconds are short.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300

# This script runs on the first node, which becomes the head. By number: a node may know its own name as 127.0.1.1.
# HEAD_IP chooses the network where a node has several.
read -ra addresses < <(hostname -I)
head_ip=${HEAD_IP:-${addresses[0]}}

trap 'scontrol requeue "$SLURM_JOB_ID"' USR1

# In the background: a trap waits for what runs in front.
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" \
  ray symmetric-run \
  --address "$head_ip:6379" \
  --min-nodes "$SLURM_JOB_NUM_NODES" \
  --num-cpus "$SLURM_CPUS_PER_TASK" \
  --num-gpus "$SLURM_GPUS_ON_NODE" \
  -- scyc-sweep "$@" --address auto &
sweep=$!
# A signal ends the first wait, not the sweep; where the sweep itself failed, the second one gives its status again.
wait "$sweep" || wait "$sweep"

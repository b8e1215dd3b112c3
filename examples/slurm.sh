#!/usr/bin/env bash
# An audit of a data set as an array of SLURM jobs, each a shard of one run: sbatch examples/slurm.sh
#
# The folder, the images and the model's file lie where all nodes see them. A job that runs out of time, or whose node
# fails, costs the image that it was at: submit the same script again, and what is left is done. A shard that finds
# nothing left ends at once.
#
#SBATCH --job-name=kdb-audit
#SBATCH --array=1-16
#SBATCH --cpus-per-task=2
#SBATCH --mem=8G
#SBATCH --time=04:00:00
set -euo pipefail

DATA=${DATA:-data}
RUN=${RUN:-audit}
export KDB_THREADS=${SLURM_CPUS_PER_TASK:-2}

exec kdb -p part="$SLURM_ARRAY_TASK_ID" -p parts="$SLURM_ARRAY_TASK_COUNT" "
    CREATE OR REPLACE MODEL classifier FROM '$DATA/classifier.onnx';
    OCCLUDE MANIFEST '$DATA/images.csv' WITH patch(16, 16) STRIDE 8 USING classifier
    INTO RUN '$RUN' VIA shard(\$part, \$parts)"

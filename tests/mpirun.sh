#!/usr/bin/env bash
# mpirun as the tests use it: more ranks than cores, root in a container, no binding.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMPI_MCA_mpi_yield_when_idle=1 OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec mpirun --bind-to none "$@"

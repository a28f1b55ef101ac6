#pragma once

#include <mpi.h>

#include <cstdint>
#include <string>

#include "dist/backend.h"

namespace layalign::dist {

/// Throws `CommError` with MPI's own text unless `result` is MPI_SUCCESS; `call` names the MPI function.
void check_mpi(int result, const char* call);

/// Tensors over MPI. CUDA tensors go through pinned host memory: the distribution's OpenMPI cannot read device memory.
/// bfloat16 is summed in float32 and rounded once. Messages of more than `max_count` values are cut (MPI counts in
/// `int`). Every OpenMPI algorithm reduces a value in one place, or by the same pairs on all ranks: all ranks get the
/// same bits.
class MpiBackend final : public Backend {
 public:
  /// MPI's counts are `int`; some of its algorithms multiply them by the number of ranks.
  static constexpr int64_t kMaxCount = int64_t{1} << 28;

  /// `comm` stays the caller's: freeing it is collective, and a destructor may run on one rank alone.
  explicit MpiBackend(MPI_Comm comm, int64_t max_count = kMaxCount);

  const char* name() const override { return "mpi"; }
  void all_reduce(at::Tensor& tensor, Reduce op) override;
  void all_gather(const at::Tensor& local, at::Tensor& out) override;
  void broadcast(at::Tensor& tensor, int root) override;

 private:
  void all_reduce_host(at::Tensor& host, Reduce op);
  void broadcast_host(at::Tensor& host, int root);

  MPI_Comm comm_;
  int64_t max_count_;
  int rank_ = 0;
  int size_ = 1;
};

}  // namespace layalign::dist

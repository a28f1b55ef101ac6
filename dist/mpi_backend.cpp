#include "dist/mpi_backend.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "dist/error.h"

namespace layalign::dist {
namespace {

MPI_Datatype arithmetic_type(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return MPI_FLOAT;
    case at::kDouble:
      return MPI_DOUBLE;
    case at::kLong:
      return MPI_INT64_T;
    case at::kInt:
      return MPI_INT32_T;
    case at::kByte:
      return MPI_UINT8_T;
    default:
      throw CommError(std::string("MPI has no arithmetic for ") + at::toString(type));
  }
}

// Moving needs no arithmetic: any type of the same width will do.
MPI_Datatype moving_type(const at::Tensor& tensor) {
  switch (tensor.element_size()) {
    case 1:
      return MPI_UINT8_T;
    case 2:
      return MPI_UINT16_T;
    case 4:
      return MPI_UINT32_T;
    default:
      return MPI_UINT64_T;
  }
}

// The tensor itself on the CPU; for CUDA an uninitialised pinned buffer of the same shape.
at::Tensor host_buffer(const at::Tensor& tensor) {
  if (tensor.is_cpu()) return tensor;
  return at::empty(tensor.sizes(), tensor.options().device(at::kCPU).pinned_memory(true));
}

char* bytes(const at::Tensor& tensor, int64_t element) {
  return static_cast<char*>(tensor.data_ptr()) + element * static_cast<int64_t>(tensor.element_size());
}

}  // namespace

void check_mpi(int result, const char* call) {
  if (result == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(result, text, &length);
  throw CommError(std::string(call) + " failed: " + std::string(text, static_cast<size_t>(length)));
}

MpiBackend::MpiBackend(MPI_Comm comm, int64_t max_count) : comm_(comm), max_count_(max_count) {
  check_mpi(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check_mpi(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(comm_, &size_), "MPI_Comm_size");
}

void MpiBackend::all_reduce(at::Tensor& tensor, Reduce op) {
  at::NoGradGuard no_grad;
  if (tensor.is_cpu() && tensor.scalar_type() != at::kBFloat16) return all_reduce_host(tensor, op);
  const auto type = tensor.scalar_type() == at::kBFloat16 ? at::kFloat : tensor.scalar_type();
  at::Tensor host =
      at::empty(tensor.sizes(), tensor.options().device(at::kCPU).dtype(type).pinned_memory(tensor.is_cuda()));
  host.copy_(tensor);
  all_reduce_host(host, op);
  tensor.copy_(host);
}

void MpiBackend::all_reduce_host(at::Tensor& host, Reduce op) {
  const MPI_Datatype type = arithmetic_type(host.scalar_type());
  const MPI_Op mpi_op = op == Reduce::kSum ? MPI_SUM : MPI_MAX;
  for (int64_t first = 0; first < host.numel(); first += max_count_) {
    const int count = static_cast<int>(std::min(max_count_, host.numel() - first));
    check_mpi(MPI_Allreduce(MPI_IN_PLACE, bytes(host, first), count, type, mpi_op, comm_), "MPI_Allreduce");
  }
}

void MpiBackend::all_gather(const at::Tensor& local, at::Tensor& out) {
  at::NoGradGuard no_grad;
  at::Tensor host_out = host_buffer(out);
  at::Tensor mine = host_out.select(0, rank_);
  mine.copy_(local);
  const MPI_Datatype type = moving_type(local);
  if (out.numel() <= max_count_) {
    check_mpi(MPI_Allgather(MPI_IN_PLACE, 0, type, host_out.data_ptr(), static_cast<int>(local.numel()), type, comm_),
              "MPI_Allgather");
  } else {
    // A piece of every rank's block is not one row of memory; rank after rank is simpler and no slower at this size.
    for (int root = 0; root < size_; ++root) {
      at::Tensor block = host_out.select(0, root);
      broadcast_host(block, root);
    }
  }
  if (!out.is_cpu()) out.copy_(host_out);
}

void MpiBackend::broadcast(at::Tensor& tensor, int root) {
  at::NoGradGuard no_grad;
  at::Tensor host = host_buffer(tensor);
  if (!tensor.is_cpu() && rank_ == root) host.copy_(tensor);
  broadcast_host(host, root);
  if (!tensor.is_cpu() && rank_ != root) tensor.copy_(host);
}

void MpiBackend::broadcast_host(at::Tensor& host, int root) {
  const MPI_Datatype type = moving_type(host);
  for (int64_t first = 0; first < host.numel(); first += max_count_) {
    const int count = static_cast<int>(std::min(max_count_, host.numel() - first));
    check_mpi(MPI_Bcast(bytes(host, first), count, type, root, comm_), "MPI_Bcast");
  }
}

}  // namespace layalign::dist

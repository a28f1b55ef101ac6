#include "dist/nccl_backend.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cstring>
#include <exception>
#include <thread>
#include <utility>

#include "dist/error.h"

namespace layalign::dist {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kJoinTimeout = std::chrono::seconds(300);  // all ranks enter within moments: the id was just exchanged
constexpr auto kLeaveTimeout = std::chrono::seconds(10);  // a peer that died never leaves
constexpr auto kAbortPatience = std::chrono::seconds(1);  // a call takes microseconds, unless it is what hangs
constexpr auto kPollPause = std::chrono::microseconds(20);

ncclDataType_t nccl_type(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return ncclFloat32;
    case at::kDouble:
      return ncclFloat64;
    case at::kBFloat16:
      return ncclBfloat16;
    case at::kLong:
      return ncclInt64;
    case at::kInt:
      return ncclInt32;
    case at::kByte:
      return ncclUint8;
    default:
      throw CommError(std::string("NCCL backend: no type for ") + at::toString(tensor.scalar_type()));
  }
}

std::string nccl_text(ncclResult_t result, ncclComm_t comm) {
  std::string text = ncclGetErrorString(result);
  const char* last = ncclGetLastError(comm);
  if (last && *last) text += std::string(" (") + last + ")";
  return text;
}

cudaStream_t current_stream(int device) {
  return c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device)).stream();
}

}  // namespace

int checked_nccl_version() {
  int version = 0;
  const ncclResult_t result = ncclGetVersion(&version);
  if (result != ncclSuccess) throw CommError(std::string("ncclGetVersion failed: ") + ncclGetErrorString(result));
  if (version != NCCL_VERSION_CODE) {
    throw CommError("NCCL: expected version " + std::to_string(NCCL_VERSION_CODE) +
                    ", that of the torch wheel this was built "
                    "with, got " +
                    std::to_string(version) + ": another libnccl.so.2 comes first (see LD_LIBRARY_PATH, LD_PRELOAD)");
  }
  return version;
}

std::string make_nccl_id() {
  ncclUniqueId id;
  const ncclResult_t result = ncclGetUniqueId(&id);
  if (result != ncclSuccess) throw CommError("ncclGetUniqueId failed: " + nccl_text(result, nullptr));
  return std::string(id.internal, sizeof(id.internal));
}

NcclBackend::NcclBackend(const std::string& id, int rank, int size, int device)
    : device_(device), exceptions_at_start_(std::uncaught_exceptions()) {
  ncclUniqueId unique_id;
  if (id.size() != sizeof(unique_id.internal)) {
    throw CommError("NCCL: expected a group identity of " + std::to_string(sizeof(unique_id.internal)) +
                    " bytes, got " + std::to_string(id.size()));
  }
  std::memcpy(unique_id.internal, id.data(), id.size());
  const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device_));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclResult_t result = ncclCommInitRankConfig(&comm_, size, unique_id, rank, &config);
  if (result == ncclInProgress) result = poll(Clock::now() + kJoinTimeout);
  if (result == ncclSuccess) return;
  const std::string why = result == ncclInProgress ? "not all ranks joined in time" : nccl_text(result, comm_);
  if (comm_) ncclCommAbort(comm_);
  throw CommError("NCCL: rank " + std::to_string(rank) + " of " + std::to_string(size) + " on cuda:" +
                  std::to_string(device_) + " could not join its group: " + why + ". NCCL_DEBUG=INFO tells more.");
}

void NcclBackend::abort() noexcept {
  const std::unique_lock lock(in_use_, kAbortPatience);
  if (!std::exchange(aborted_, true)) ncclCommAbort(comm_);
}

NcclBackend::~NcclBackend() {
  if (aborted_) return;
  // Leaving in order waits for the peers; after a failure they will not come.
  const bool failed = std::uncaught_exceptions() > exceptions_at_start_;
  if (!failed) {
    ncclResult_t result = ncclCommFinalize(comm_);
    if (result == ncclInProgress) result = poll(Clock::now() + kLeaveTimeout);
    if (result == ncclSuccess && ncclCommDestroy(comm_) == ncclSuccess) return;
  }
  ncclCommAbort(comm_);
}

template <typename Use>
ncclResult_t NcclBackend::use(Use use) const {
  const std::lock_guard lock(in_use_);
  if (aborted_) throw CommError("NCCL: the group was aborted, for one of its ranks does not go on");
  return use(comm_);
}

// A communicator made with blocking=0 answers ncclInProgress until the call has run its course on the host.
ncclResult_t NcclBackend::poll(const Deadline& deadline) const {
  while (true) {
    ncclResult_t state = ncclInProgress;
    const ncclResult_t asked = use([&](ncclComm_t comm) { return ncclCommGetAsyncError(comm, &state); });
    if (asked != ncclSuccess) return asked;
    if (state != ncclInProgress) return state;
    if (deadline && Clock::now() > *deadline) return ncclInProgress;
    std::this_thread::sleep_for(kPollPause);
  }
}

void NcclBackend::check(ncclResult_t result, const char* call) const {
  if (result == ncclSuccess) return;
  std::string text;
  use([&](ncclComm_t comm) {
    text = nccl_text(result, comm);
    return result;
  });
  throw CommError(std::string(call) + " failed: " + text);
}

// No deadline: the first call waits on the host until every peer has made it, however late that peer is.
template <typename Use>
void NcclBackend::run(const char* call, Use queue) const {
  check(poll(std::nullopt), "an earlier NCCL call");
  const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device_));
  ncclResult_t result = use([&](ncclComm_t comm) { return queue(comm, current_stream(device_)); });
  if (result == ncclInProgress) result = poll(std::nullopt);
  check(result, call);
}

void NcclBackend::all_reduce(at::Tensor& tensor, Reduce op) {
  run("ncclAllReduce", [&](ncclComm_t comm, cudaStream_t stream) {
    const auto count = static_cast<size_t>(tensor.numel());
    return ncclAllReduce(tensor.data_ptr(), tensor.data_ptr(), count, nccl_type(tensor),
                         op == Reduce::kSum ? ncclSum : ncclMax, comm, stream);
  });
}

void NcclBackend::all_gather(const at::Tensor& local, at::Tensor& out) {
  run("ncclAllGather", [&](ncclComm_t comm, cudaStream_t stream) {
    const auto count = static_cast<size_t>(local.numel());
    return ncclAllGather(local.data_ptr(), out.data_ptr(), count, nccl_type(local), comm, stream);
  });
}

void NcclBackend::broadcast(at::Tensor& tensor, int root) {
  run("ncclBroadcast", [&](ncclComm_t comm, cudaStream_t stream) {
    const auto count = static_cast<size_t>(tensor.numel());
    return ncclBroadcast(tensor.data_ptr(), tensor.data_ptr(), count, nccl_type(tensor), root, comm, stream);
  });
}

}  // namespace layalign::dist
